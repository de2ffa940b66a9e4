-- needs: prelude
-- Says how many jobs of a queue may wait, or that any number may. A queue that was never used gets its number.
-- KEYS  1 prefix
-- ARGV  1 that number, or ''   2 the queue's number   3 1 when the registry has just given that number, 0 when the caller remembers it
-- Returns {'set'}, or {'number', the queue's own, or ''} when nothing was changed because the number may be wrong.
local number = call('HGET', key('meta'), 'number')
if number ~= ARGV[2] and (number or ARGV[3] == '0') then return { 'number', number or '' } end
call('HDEL', key('meta'), 'max_queued') -- a first write that a full Redis allows
if ARGV[1] == '' then
  call('DEL', key('reserved'))
else
  call('HSET', key('meta'), 'max_queued', ARGV[1])
end
if not number then
  call('HSET', key('meta'), 'number', ARGV[2])
  call('HINCRBY', key('meta'), 'seq', 0) -- by this the registry knows a queue that was used
end
return { 'set' }
