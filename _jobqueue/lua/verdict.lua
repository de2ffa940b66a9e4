-- needs: prelude
-- Notes when the checker has looked at a queue, and how many problems it found. Does nothing for a queue that was never used.
-- KEYS  1 prefix
-- ARGV  1 number of problems
-- Returns the time in ms.
local now = digits(now_ms())
if call('EXISTS', key('totals')) == 1 then
  call('HDEL', key('meta'), 'checked') -- a first write that a full Redis allows
  call('HSET', key('meta'), 'checked', now .. ' ' .. ARGV[1])
end
return now
