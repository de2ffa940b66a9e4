-- Takes a queue out of the registry. Its number counts as given.
-- KEYS  1 jq:queues
-- ARGV  1 queue
-- Returns its number; -1 when it was not there.
local number = redis.call('HGET', KEYS[1], ARGV[1])
if not number then return -1 end
redis.call('HDEL', KEYS[1], ARGV[1]) -- a first write that a full Redis allows
redis.call('SADD', 'jq:{jq:queues}:given', number)
return tonumber(number)
