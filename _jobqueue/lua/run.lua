-- needs: prelude tags webhooks marks
-- Makes scheduled jobs due now. A call sent twice finds them queued.
-- KEYS  1 prefix
-- ARGV  ids, each once
-- Returns for each 'queued', or the status that forbids it; false when there is no such job.
local answers, jobs, moved, now = {}, {}, {}, now_ms()
for i, id in ipairs(ARGV) do
  local f = call('HMGET', key('job:' .. id), 'status', 'score', 'tallied', 'also')
  answers[i] = f[1]
  if f[1] == 'scheduled' then
    answers[i] = 'queued'
    jobs[#jobs + 1] = { id, f[2], f[4] }
    if f[3] then TAGGED[id] = true end
  end
end
for _, job in ipairs(jobs) do
  call('ZREM', key('scheduled'), job[1])
  call('HSET', key('job:' .. job[1]), 'status', 'queued', 'due', digits(now))
  call('ZADD', key('queue'), job[2], job[1])
  moved[job[1]] = true
  if job[3] and string.find(job[3], 'd', 1, true) then note_delivery(job[1], digits(now)) end
end
if #jobs > 0 then
  if next(TAGGED) then pcall(count_tags, TAGGED, now) end
  local meta = call('HMGET', key('meta'), 'bells', 'gates', 'rev')
  if meta[3] then mark(meta[3], now, moved) end
  ring(meta)
end
return answers
