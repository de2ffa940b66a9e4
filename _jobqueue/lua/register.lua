-- Gives a queue its number, which its job ids carry. The registry is the one key that no queue owns.
-- KEYS  1 jq:queues
-- ARGV  1 queue   2 how many queues there may be
-- Returns its number; -1 when there are too many.
local number = redis.call('HGET', KEYS[1], ARGV[1])
if number then return tonumber(number) end
number = redis.call('HLEN', KEYS[1])
if number >= tonumber(ARGV[2]) then return -1 end
redis.call('HSET', KEYS[1], ARGV[1], number)
return number
