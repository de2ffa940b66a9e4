-- An operator's retry: failed or cancelled jobs are queued again, last of their priority, with a new count of attempts.
-- Sent twice with the same request, it retries once.
-- KEYS  1 prefix
-- ARGV  1 name of this request   2 number of ids   3... ids, then another payload, if they shall have one: field, value ...
-- Returns for each 'retried', or what forbids it: the status, or 'taken' by another job with its unique key; false when there
-- is no such job.
local request, n = ARGV[1], tonumber(ARGV[2])
local answers, jobs, named = {}, {}, {}
for i = 1, n do
  local id = ARGV[2 + i]
  local f = call('HMGET', key('job:' .. id), 'status', 'score', 'retry', 'unique', 'kind')
  local job = { id = id, status = f[1], score = f[2], unique = f[4], kind = f[5] }
  if f[3] == request then
    answers[i] = 'retried'
  elseif job.status ~= 'failed' and job.status ~= 'cancelled' then
    answers[i] = job.status
  elseif job.unique and (named[job.unique] or unique_taken(id, job)) then
    answers[i] = 'taken'
  else
    answers[i] = 'retried'
    jobs[#jobs + 1] = job
    if job.unique then named[job.unique] = true end
  end
end
for _, job in ipairs(jobs) do
  call('ZREM', key(job.status), job.id)
  start_anew(job.id, job, request)
  if #ARGV > 2 + n then
    call('HDEL', key('job:' .. job.id), 'payload.1', 'payload.2', 'payload.3', 'payload.4', 'payload.5', 'payload.6', 'payload.7')
    call('HSET', key('job:' .. job.id), unpack(ARGV, 3 + n))
  end
end
if #jobs > 0 then
  count('requeued', #jobs, now_ms())
  ring()
end
return answers
