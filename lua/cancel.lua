-- Cancels a job: at once while it waits, by asking its handler while it runs. Sent twice, it says the same.
-- KEYS  1 prefix
-- ARGV  1 id
-- Returns 'cancelled', 'asked', or the status that forbids it ('done', 'failed'); false when there is no such job.
local id = ARGV[1]
local status = call('HGET', key('job:' .. id), 'status')
local now = now_ms()
if status == 'processing' then
  call('HSET', key('job:' .. id), 'cancel', digits(now))
  return 'asked'
end
local index = status == 'queued' and 'queue' or status == 'scheduled' and 'scheduled'
if not index then return status end
call('ZREM', key(index), id)
call('HSET', key('job:' .. id), 'status', 'cancelled', 'finished', digits(now))
call('ZADD', key('cancelled'), digits(now), id)
count('cancelled', 1, now)
return 'cancelled'
