-- Remembers a whole request under its idempotency key.
-- KEYS  1 jq:idem:<key>
-- ARGV  1 fingerprint of the request   2 for how many ms
-- Returns 1 when it is new, 0 when it was remembered before, -1 when another one was.
local seen = redis.call('GET', KEYS[1])
if seen then return seen == ARGV[1] and 0 or -1 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
