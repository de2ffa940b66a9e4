-- Counts a request against a client's limit. The sliding window is exact: it keeps the time of each accepted request.
-- KEYS  1 jq:rate:<client>
-- ARGV  1 most requests in a window   2 window in ms
-- Returns {1 accepted or 0 refused, requests left in this window, ms until there is room for one more (0: now)}.
local limit, window_ms = tonumber(ARGV[1]), tonumber(ARGV[2])
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local n = redis.call('LLEN', KEYS[1])
while n > 0 and tonumber(redis.call('LINDEX', KEYS[1], 0)) <= now - window_ms do
  redis.call('LPOP', KEYS[1])
  n = n - 1
end
if n >= limit then
  return { 0, 0, redis.call('LINDEX', KEYS[1], n - limit) + window_ms - now }
end
redis.call('RPUSH', KEYS[1], string.format('%d', now))
redis.call('PEXPIRE', KEYS[1], window_ms)
local room_ms = 0
if n + 1 >= limit then room_ms = redis.call('LINDEX', KEYS[1], 0) + window_ms - now end
return { 1, limit - n - 1, room_ms }
