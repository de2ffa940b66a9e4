-- needs: prelude expiry jobs tokens places policy lanes limits leases kinds fair tags webhooks edges ends failures by_type marks
-- Takes back jobs whose lease ran out: a compare-and-set on (status, token, lease end) for each.
-- KEYS  1 prefix
-- ARGV  1-3 default max_attempts, timeout_ms, backoff_ms   4 the error message   then for each: id, token or '', lease end
-- Returns for each: 'queued' (runs again at once, in its old place), 'failed' (attempts spent), 'cancelled' (was asked to);
--   'changed' (renewed, settled or claimed anew since the caller looked) or 'stale' (the index was wrong).
local defaults, message = { ARGV[1], ARGV[2], ARGV[3] }, ARGV[4]
local now = now_ms()

-- Returns why not to reap a job; nil when its lease ran out under the token that the caller saw.
local function reason_against(job, lease_end_now, token, lease_end_seen)
  if lease_end_now ~= lease_end_seen or tonumber(lease_end_now) > now then return 'changed' end
  if not job or job.status ~= 'processing' then return 'stale' end
  if (job.token or '') ~= token then return 'changed' end
end

local answers, stale, jobs = {}, {}, {}
for at = 5, #ARGV, 3 do
  local id, i = ARGV[at], #answers + 1
  local job = job_of(id, call('HGETALL', key('job:' .. id)))
  answers[i] = reason_against(job, call('ZSCORE', key('leases'), id), ARGV[at + 1], ARGV[at + 2]) or 'reaped'
  if answers[i] == 'stale' then stale[#stale + 1] = id end
  if answers[i] == 'reaped' then
    job.number, job.failure = i, { delay = IN_PLACE, kind = 'lease_expired', message = message }
    job.max_attempts, job.timeout_ms, job.backoff_ms = policy_of(job, defaults)
    jobs[#jobs + 1] = job
  end
end

if #stale > 0 then call('ZREM', key('leases'), unpack(stale)) end
if #jobs > 0 then
  left_processing(jobs, nil, true)
  retry_or_bury(jobs, now)
end
local by_type, reaped = {}, {}
for _, job in ipairs(jobs) do
  answers[job.number], reaped[job.id] = job.status, true
  tally('reaped')
  by_type[#by_type + 1], by_type[#by_type + 2] = job.type or 'echo', '{"failed":1}'
end
write_ends(now, reaped)
pcall(count_by_type, by_type, now)
local meta = call('HMGET', key('meta'), 'bells', 'gates', 'rev')
if meta[3] then mark(meta[3], now, reaped) end
ring(meta)
return answers
