-- Retries the oldest dead letters, as retry does for one. Sent twice, it goes on with the next.
-- KEYS  1 prefix
-- ARGV  1 ms since the epoch: only those that failed before   2 most jobs to look at   3 name of this request
-- Returns {how many were queued, how many it looked at}; the others wait for the job that has their unique key.
local ids = call('ZRANGEBYSCORE', key('failed'), '-inf', '(' .. ARGV[1], 'LIMIT', 0, ARGV[2])
local jobs, named = {}, {}
for _, id in ipairs(ids) do
  local f = call('HMGET', key('job:' .. id), 'status', 'score', 'unique')
  local job = { score = f[2], unique = f[3] }
  local free = not unique_taken(id, job) and not (job.unique and named[job.unique])
  if f[1] == 'failed' and free then
    jobs[#jobs + 1] = { id, job }
    if job.unique then named[job.unique] = true end
  end
end
for _, each in ipairs(jobs) do
  call('ZREM', key('failed'), each[1])
  start_anew(each[1], each[2], ARGV[3])
end
if #jobs > 0 then count('requeued', #jobs, now_ms()) end
ring()
return { #jobs, #ids }
