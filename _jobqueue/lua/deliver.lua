-- needs: prelude jobs policy
-- Begins or ends the call of a webhook. Of one host only some calls are made at once, over all workers of the queue.
-- KEYS  1 prefix
-- ARGV  1 the delivery's id   2 host and port   3 how many ms the call has taken; '' to begin one
--       4 the job that has ended   5 most calls at once
--       6 ms after which a call that nobody has ended does not count
--       7-9 default max_attempts, timeout_ms, backoff_ms
-- Returns of a call that begins {'job', its fields and values, its max_attempts, timeout_ms, backoff_ms};
--   {'gone'} when the job is not there any more, {'over'} when it has ended again since.
--   {'busy', in how many ms there may be room} when none is made.
local LONGEST_MS, LEAST_MS, PACE_MS = 600000, 10, 1000
local id, host, now = ARGV[1], ARGV[2], now_ms()
local pace = key('pace:' .. host) -- ms, that the last call took; free_at, when those that wait will be through

if ARGV[3] ~= '' then
  call('ZREM', key('calls:' .. host), id)
  call('HSET', pace, 'ms', ARGV[3])
  call('PEXPIRE', pace, LONGEST_MS)
  return { 'ended' }
end

local delivery = call('HMGET', key('job:' .. id), 'of', 'n')
local flat = call('HGETALL', key('job:' .. ARGV[4]))
call('ZREM', key('calls:' .. host), '') -- a first write that a full Redis allows
for _, other in ipairs(call('ZRANGEBYSCORE', key('calls:' .. host), '-inf', digits(now))) do
  call('ZREM', key('calls:' .. host), other) -- its worker has died
end
if not call('ZSCORE', key('calls:' .. host), id) and call('ZCARD', key('calls:' .. host)) >= tonumber(ARGV[5]) then
  -- Who finds no room stands in a line that nobody keeps: each comes back when those before it have been called.
  local f = call('HMGET', pace, 'ms', 'free_at')
  local each = math.max(LEAST_MS, tonumber(f[1]) or PACE_MS) / ARGV[5]
  local free_at = math.min(math.max(now, tonumber(f[2]) or 0) + each, now + LONGEST_MS)
  call('HSET', pace, 'free_at', digits(free_at))
  call('PEXPIRE', pace, LONGEST_MS)
  return { 'busy', math.ceil(free_at - now) }
end
call('ZADD', key('calls:' .. host), digits(now + ARGV[6]), id)
call('PEXPIRE', key('calls:' .. host), ARGV[6])
local job = job_of(ARGV[4], flat)
if not job or job.created ~= delivery[1] then return { 'gone' } end
if job.ends_n ~= delivery[2] then return { 'over' } end
return { 'job', flat, policy_of(job, { ARGV[7], ARGV[8], ARGV[9] }) }
