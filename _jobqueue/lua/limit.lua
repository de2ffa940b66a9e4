-- needs: prelude lanes limits kits
-- Defines or changes a limit. A new one first counts what runs, in steps (let_in.lua), and lets nobody start meanwhile; lowering stops
-- nobody. What a pattern held back opens in such steps too.
-- KEYS  1 prefix
-- ARGV  1 name, or one that ends in *   2 most that run, 0: any   3 most that start   4 in so many seconds; 0 0: any
-- Returns 'new' or 'changed'; 'full' when the queue has as many definitions as it may have;
--   'worker' or 'reaper' while one of the release before lives, which would not obey.
local PATTERNS_MOST, LIMITS_MOST = 100, 10000
local name, now = ARGV[1], now_ms()
local index, most = 'limits', LIMITS_MOST
if string.sub(name, -1) == '*' then index, most = 'patterns', PATTERNS_MOST end
local old = old_program(now)
if old then return old end
local known = call('HEXISTS', key(index), name) == 1
if not known and call('HLEN', key(index)) - call('HEXISTS', key(index), ' ') >= most then return 'full' end
local counts = call('HEXISTS', key('counting'), name) == 1 or not known and call('ZCARD', key('leases')) > 0

call('HDEL', key(index), name) -- a first write that a full Redis allows
call('HSET', key(index), name, table.concat({ ARGV[2], ARGV[3], ARGV[4], counts and 'c' or '-' }, ' '))
if counts and not known then call('HSET', key('counting'), name, '0') end
if index == 'patterns' then call('HSET', key('limits'), ' ', 'patterns') end
call('ZADD', key('limited'), 0, name)
call('HSET', key('meta'), 'gates', '2')
limits_room(refresh_lane).open(name)
ring()
return known and 'changed' or 'new'
