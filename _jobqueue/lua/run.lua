-- needs: prelude
-- Makes scheduled jobs due now. A call sent twice finds them queued.
-- KEYS  1 prefix
-- ARGV  ids, each once
-- Returns for each 'queued', or the status that forbids it; false when there is no such job.
local answers, jobs, now = {}, {}, digits(now_ms())
for i, id in ipairs(ARGV) do
  local f = call('HMGET', key('job:' .. id), 'status', 'score')
  answers[i] = f[1]
  if f[1] == 'scheduled' then
    answers[i] = 'queued'
    jobs[#jobs + 1] = { id, f[2] }
  end
end
for _, job in ipairs(jobs) do
  call('ZREM', key('scheduled'), job[1])
  call('HSET', key('job:' .. job[1]), 'status', 'queued', 'due', now)
  call('ZADD', key('queue'), job[2], job[1])
end
if #jobs > 0 then ring() end
return answers
