-- needs: prelude places fair tags webhooks marks
-- Makes scheduled jobs due now. A call sent twice finds them queued.
-- KEYS  1 prefix
-- ARGV  ids, each once
-- Returns for each 'queued', or the status that forbids it; false when there is no such job.
local answers, jobs, moved, now = {}, {}, {}, now_ms()
for i, id in ipairs(ARGV) do
  local f = call('HMGET', key('job:' .. id), 'status', 'score', 'tallied', 'fair_key', 'started', 'also')
  answers[i] = f[1]
  if f[1] == 'scheduled' then
    answers[i] = 'queued'
    jobs[#jobs + 1] = { id, f[2], f[4], new = not f[5], also = f[6] }
    if f[3] then TAGGED[id] = true end
  end
end
local meta = #jobs > 0 and call('HMGET', key('meta'), 'bells', 'gates', 'rev', 'fair', 'turns_ended')
local fair = { on = meta and meta[4], over = meta and meta[5], rounds = {} }
for _, job in ipairs(jobs) do
  call('ZREM', key('scheduled'), job[1])
  if job.new and (fair.on or fair.over or job[3]) then
    job[2] = turn_of(fair, job[2], job[3] or '', call('HINCRBY', key('meta'), 'seq', 1))
  end
  call('HSET', key('job:' .. job[1]), 'status', 'queued', 'score', job[2], 'due', digits(now))
  call('ZADD', key('queue'), job[2], job[1])
  moved[job[1]] = true
  if job.also and string.find(job.also, 'd', 1, true) then note_delivery(job[1], digits(now)) end
end
if #jobs > 0 then
  if next(TAGGED) then pcall(count_tags, TAGGED, now) end
  if meta[3] then mark(meta[3], now, moved) end
  ring(meta)
end
return answers
