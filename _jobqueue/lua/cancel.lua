-- needs: prelude ends lanes parked marks
-- Cancels jobs: at once while they wait, by asking their handlers while they run. A call sent twice gives the same answers.
-- KEYS  1 prefix
-- ARGV  ids, each once
-- Returns for each 'cancelled', 'asked', or the status that forbids it ('done', 'failed'); false when there is no such job.
local now, answers, cancelled = now_ms(), {}, {}
for i, id in ipairs(ARGV) do answers[i] = call('HGET', key('job:' .. id), 'status') end
for i, id in ipairs(ARGV) do
  if answers[i] == 'queued' or answers[i] == 'scheduled' then
    if answers[i] == 'queued' then unqueue(id) else call('ZREM', key('scheduled'), id) end
    ended({ id = id }, 'cancelled', digits(now))
    answers[i], cancelled[id] = 'cancelled', true
  elseif answers[i] == 'processing' then
    call('HSETNX', key('job:' .. id), 'cancel', digits(now)) -- since when: asking again changes nothing
    answers[i] = 'asked'
  end
end
write_ends(now)
local rev = next(cancelled) and call('HGET', key('meta'), 'rev')
if rev then mark(rev, now, cancelled) end
return answers
