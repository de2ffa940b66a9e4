-- needs: prelude
-- Writes a schedule: a new one, or what changes of one that is there. A call sent twice finds it changed.
-- KEYS  1 prefix
-- ARGV  1 name   2, 3 its revision and when it is due, as the caller has read them; '' where it shall be new
--       4 when it is due from now on, ms since the epoch, or 'inf' for never
--       5 most schedules of a queue
--       6 the queue's number   7 1 when the registry has just given that number, 0 when the caller remembers it
--       8... field, value ...
-- Returns 'planned'; 'changed' when it is not what the caller has read; 'full'; or {'number', the queue's own or ''}.
local name, schedule = ARGV[1], key('schedule:' .. ARGV[1])
local number = call('HGET', key('meta'), 'number')
if number ~= ARGV[6] and (number or ARGV[7] == '0') then return { 'number', number or '' } end
local rev, due = call('HGET', schedule, 'rev'), call('ZSCORE', key('schedules'), name)
if (rev or '') ~= ARGV[2] or (rev and due or '') ~= ARGV[3] then return 'changed' end
if not due and call('ZCARD', key('schedules')) >= tonumber(ARGV[5]) then return 'full' end

-- A revision that no schedule ever had, also not one of this name that was deleted, perhaps with its queue.
local now = digits(now_ms())
local new_rev = now .. '.' .. call('HINCRBY', key('meta'), 'planned', 1)
if not number then
  call('HSET', key('meta'), 'number', ARGV[6])
  call('HINCRBY', key('meta'), 'seq', 0) -- by this the registry knows a queue that was used
end
if not rev then call('HSET', schedule, 'created', now) end
call('HSET', schedule, 'rev', new_rev, 'updated', now, unpack(ARGV, 8))
call('ZADD', key('schedules'), ARGV[4], name)
return 'planned'
