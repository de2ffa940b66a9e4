-- needs: prelude tokens
-- Stops a job that was asked to cancel: its worker interrupts the handler with its next beat, as at a timeout. A worker that speaks
-- HTTP cannot be interrupted: its lease ends, and a reaper cancels the job. A call sent twice does no more.
-- KEYS  1 prefix
-- ARGV  1 id
-- Returns 1 when it runs and was asked to cancel, else 0.
local id = ARGV[1]
local f = call('HMGET', key('job:' .. id), 'status', 'token', 'cancel')
if f[1] ~= 'processing' or not f[2] or not f[3] then return 0 end
local worker = worker_of(slot_of(f[2]) or '')
if worker and call('EXISTS', key('remote:' .. worker)) == 1 then
  call('ZREM', key('leases'), id) -- a first write that a full Redis allows
  call('ZADD', key('leases'), digits(now_ms()), id)
else
  call('HDEL', key('job:' .. id), 'force')
  call('HSET', key('job:' .. id), 'force', f[2]) -- of that attempt alone
end
return 1
