-- Deletes a job that does not run, hash and index together.
-- KEYS  1 prefix
-- ARGV  1 id
-- Returns 'deleted', or 'processing', which forbids it; false when there is no such job.
local id = ARGV[1]
local job = job_of(id)
if not job then return false end
if job.status == 'processing' then return job.status end
local now = now_ms()
call('ZREM', key(INDEX[job.status] or 'failed'), id)
erase(id, job, now)
count('deleted', 1, now)
return 'deleted'
