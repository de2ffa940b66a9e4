-- Deletes ended jobs that are past their retention, hash and index together.
-- KEYS  1 prefix
-- ARGV  1 index: done, failed or cancelled   2 retention in ms   3 most jobs to delete   4 life of an idempotency key in ms
-- Returns how many ids it took from the index.
local index, idem_ms = ARGV[1], tonumber(ARGV[4])
local now = now_ms()
local ids = call('ZRANGEBYSCORE', key(index), '-inf', digits(now - tonumber(ARGV[2])), 'LIMIT', 0, ARGV[3])
if #ids == 0 then return 0 end
local old = {}
for _, id in ipairs(ids) do
  local f = call('HMGET', key('job:' .. id), 'status', 'idem', 'created')
  if f[1] == index then old[#old + 1] = { id = id, idem = f[2], created = tonumber(f[3]) } end
end

call('ZREM', key(index), unpack(ids))
for _, job in ipairs(old) do
  call('DEL', key('job:' .. job.id))
  if job.idem and call('HINCRBY', key('idem:' .. job.idem), 'jobs', -1) <= 0 then -- the last job under this key
    call('PEXPIRE', key('idem:' .. job.idem), digits(math.max(1, job.created + idem_ms - now)))
  end
end
if #old > 0 then count('trimmed', #old, now) end
return #ids
