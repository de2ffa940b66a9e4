-- Remembers a whole request under its idempotency key, for as long as keys are kept at least.
-- KEYS  1 jq:idem:<key>
-- ARGV  1 fingerprint of the request
-- Returns 1 when it is new, 0 when it was remembered before, -1 when another one was.
local IDEMPOTENCY_MS = 86400000
local seen = redis.call('GET', KEYS[1])
if seen then return seen == ARGV[1] and 0 or -1 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', IDEMPOTENCY_MS)
return 1
