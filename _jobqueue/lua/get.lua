-- needs: prelude jobs policy
-- Reads one job.
-- KEYS  1 prefix
-- ARGV  1 id   2-4 default max_attempts, timeout_ms, backoff_ms
-- Returns {fields and values, jobs in front of it or -1, max_attempts, timeout_ms, backoff_ms}; false when there is none.
local flat = call('HGETALL', key('job:' .. ARGV[1]))
local job = job_of(ARGV[1], flat)
if not job then return false end
local ahead = job.status == 'queued' and call('ZRANK', key('queue'), ARGV[1]) or -1
return { flat, ahead, policy_of(job, { ARGV[2], ARGV[3], ARGV[4] }) }
