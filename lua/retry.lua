-- An operator's retry: a failed or cancelled job is queued again, last of its priority, with a new count of attempts.
-- Sent twice with the same request, it retries once.
-- KEYS  1 prefix
-- ARGV  1 id   2 name of this request
-- Returns 'retried', or what forbids it: the status, or 'taken' by another job with its unique key; false when there is no
-- such job.
local id, request = ARGV[1], ARGV[2]
local f = call('HMGET', key('job:' .. id), 'status', 'score', 'retry', 'unique')
local status, job = f[1], { score = f[2], unique = f[4] }
if f[3] == request then return 'retried' end
if status ~= 'failed' and status ~= 'cancelled' then return status end
if unique_taken(id, job) then return 'taken' end
call('ZREM', key(status), id)
start_anew(id, job, request)
count('requeued', 1, now_ms())
ring()
return 'retried'
