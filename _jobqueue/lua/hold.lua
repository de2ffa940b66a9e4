-- needs: prelude hold
-- Gives up the oldest marks where more wait for the record than it may hold.
-- KEYS  1 prefix
-- ARGV  1 most marks to give up
-- Returns how many it has given up.
local now, hold = now_ms(), call('HGET', key('meta'), 'hold')
return hold and give_up(hold, now, tonumber(ARGV[1])) or 0
