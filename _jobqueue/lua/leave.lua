-- needs: prelude tokens
-- Forgets a worker and its slots, unless one of them still holds a running job.
-- KEYS  1 prefix
-- ARGV  1 worker   2 its last beat as the caller saw it, '' for any   3... its slots
-- Returns 1 when it is gone, 0 when it stays.
local worker, beat = ARGV[1], ARGV[2]
if beat ~= '' and call('ZSCORE', key('workers'), worker) ~= beat then return 0 end
for i = 3, #ARGV do
  for _, id in ipairs(call('LRANGE', key('processing:' .. ARGV[i]), 0, -1)) do
    local f = call('HMGET', key('job:' .. id), 'status', 'token')
    if f[1] == 'processing' and f[2] and slot_of(f[2]) == ARGV[i] then return 0 end
  end
end
for i = 3, #ARGV do
  call('DEL', key('processing:' .. ARGV[i]))
  call('HDEL', key('slots'), ARGV[i])
end
call('ZREM', key('workers'), worker)
call('DEL', key('worker:' .. worker))
ring()
return 1
