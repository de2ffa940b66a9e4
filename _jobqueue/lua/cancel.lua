-- needs: prelude expiry places fair tags webhooks edges ends lanes limits parked marks
-- Cancels jobs: at once while they wait, by asking their handlers while they run. A call sent twice gives the same answers.
-- KEYS  1 prefix
-- ARGV  ids, each once
-- Returns for each 'cancelled', 'asked', or the status that forbids it ('done', 'failed'); false when there is no such job. Then
-- 'left' when children are still to be told (tell.lua).
local now, answers, jobs, changed = now_ms(), {}, {}, {}
local meta = call('HMGET', key('meta'), 'rev', 'expires')
for i, id in ipairs(ARGV) do
  local f = call('HMGET', key('job:' .. id), 'status', 'also', 'tallied')
  answers[i], jobs[i] = f[1], { id = id, also = f[2], tallied = f[3] }
end
for i, id in ipairs(ARGV) do
  if answers[i] == 'queued' or answers[i] == 'scheduled' or answers[i] == 'blocked' then
    if answers[i] == 'queued' then unqueue(id) else call('ZREM', key(answers[i]), id) end
    if meta[2] then never_starts(id) end
    ended(jobs[i], 'cancelled', digits(now))
    answers[i], changed[id] = 'cancelled', true
  elseif answers[i] == 'processing' then
    call('HSETNX', key('job:' .. id), 'cancel', digits(now)) -- since when: asking again changes nothing
    answers[i] = 'asked'
  end
end
local told = write_ends(now, changed)
if meta[1] then mark(meta[1], now, changed) end
if told and told.queued then ring() end
if told and told.left then answers[#ARGV + 1] = 'left' end
return answers
