-- Takes back jobs whose lease ran out: a compare-and-set on (status, token, lease end) for each.
-- KEYS  1 prefix
-- ARGV  1-3 default max_attempts, timeout_ms, backoff_ms   4 the error message   then for each: id, token or '', lease end
-- Returns for each: 'queued' (runs again at once, in its old place), 'failed' (attempts spent), 'cancelled' (was asked to),
-- 'changed' (renewed, settled or claimed anew since the caller looked) or 'stale' (the index was wrong).
local defaults = { ARGV[1], ARGV[2], ARGV[3] }
local now = now_ms()
local looked = {}
for at = 5, #ARGV, 3 do
  local id, lease_end = ARGV[at], call('ZSCORE', key('leases'), ARGV[at])
  local job = job_of(id)
  local answer = 'reap'
  if lease_end ~= ARGV[at + 2] or tonumber(lease_end) > now then
    answer = 'changed'
  elseif not job or job.status ~= 'processing' then
    answer = 'stale'
  elseif (job.token or '') ~= ARGV[at + 1] then
    answer = 'changed'
  end
  local l = { id = id, job = job, answer = answer }
  if answer == 'reap' then l.policy = retry_policy_of(job, defaults) end
  looked[#looked + 1] = l
end

local answers = {}
for i, l in ipairs(looked) do
  answers[i] = l.answer
  if l.answer == 'stale' then call('ZREM', key('leases'), l.id) end
  if l.answer == 'reap' then
    call('ZREM', key('leases'), l.id)
    if l.job.token then
      call('LREM', key('processing:' .. slot_of(l.job.token)), 0, l.id)
      call('HDEL', key('job:' .. l.id), 'token') -- from here on its old holder is refused
    end
    answers[i] = fail(l.id, l.job, l.policy, { delay = IN_PLACE, kind = 'lease_expired', message = ARGV[4] }, now)
    count('reaped', 1, now)
    count('errors:lease_expired', 1, now)
    count(answers[i] == 'queued' and 'retried' or answers[i], 1, now)
  end
end
ring()
return answers
