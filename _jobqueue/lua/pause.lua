-- needs: prelude
-- Stops a queue from giving out jobs, or lets it go on. Running jobs go on.
-- KEYS  1 prefix
-- ARGV  1 1 to pause, 0 to resume
-- Returns 1.
call('HDEL', key('meta'), 'paused') -- a first write that a full Redis allows
if ARGV[1] == '1' then call('HSET', key('meta'), 'paused', '1') end
ring()
return 1
