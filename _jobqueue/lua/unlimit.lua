-- needs: prelude lanes limits
-- Forgets a limit. Who waits for it may start; what a pattern held back opens in steps (let_in.lua).
-- KEYS  1 prefix
-- ARGV  1 name, or one that ends in *
-- Returns 1; 0 when there was none.
local name = ARGV[1]
local was = call('HDEL', key('limits'), name) + call('HDEL', key('patterns'), name)
call('HDEL', key('counting'), name)
if call('EXISTS', key('patterns')) == 0 then call('HDEL', key('limits'), ' ') end
limits_room(refresh_lane).open(name)
ring()
return math.min(was, 1)
