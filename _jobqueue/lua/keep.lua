-- needs: prelude
-- Starts to keep a record of a queue: from now on each change of a job marks it.
-- KEYS  1 prefix
-- ARGV  1 most marks to hold   2 1 to mark claims too, else 0
-- Returns 1 when it was not kept before, else 0.
local now, rev = now_ms(), call('HGET', key('meta'), 'rev')
call('HDEL', key('meta'), 'hold', 'rev_claims') -- a first write that a full Redis allows
call('HSET', key('meta'), 'hold', ARGV[1])
if ARGV[2] == '1' then call('HSET', key('meta'), 'rev_claims', '1') end
if rev then return 0 end
call('HSET', key('meta'), 'rev', digits(now * 1000))
return 1
