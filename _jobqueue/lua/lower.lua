-- needs: prelude tokens
-- Ends the leases of a worker whose beat stopped, so that the reaper takes the jobs back, whatever the clock says.
-- KEYS  1 prefix
-- ARGV  1 worker   2 its last beat as the caller saw it   3... its slots
-- Returns how many leases were lowered; 0 too when it has beaten since.
if call('ZSCORE', key('workers'), ARGV[1]) ~= ARGV[2] then return 0 end
local now = now_ms()
local held = {}
for i = 3, #ARGV do
  for _, id in ipairs(call('LRANGE', key('processing:' .. ARGV[i]), 0, -1)) do
    local token = call('HGET', key('job:' .. id), 'token')
    local ends_at = call('ZSCORE', key('leases'), id)
    if token and slot_of(token) == ARGV[i] and ends_at and tonumber(ends_at) > now then held[#held + 1] = id end
  end
end
for _, id in ipairs(held) do
  call('ZREM', key('leases'), id) -- a first write that a full Redis allows
  call('ZADD', key('leases'), digits(now), id)
end
return #held
