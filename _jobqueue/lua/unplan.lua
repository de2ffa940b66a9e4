-- needs: prelude
-- Deletes a schedule. The jobs that it has made stay.
-- KEYS  1 prefix
-- ARGV  1 name
-- Returns 1; 0 when there was none.
local gone = call('ZREM', key('schedules'), ARGV[1]) -- a first write that a full Redis allows
return math.max(gone, call('DEL', key('schedule:' .. ARGV[1])))
