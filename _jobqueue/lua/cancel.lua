-- Cancels jobs: at once while they wait, by asking their handlers while they run. Sent twice, it says the same.
-- KEYS  1 prefix
-- ARGV  ids, each once
-- Returns for each 'cancelled', 'asked', or the status that forbids it ('done', 'failed'); false when there is no such job.
local now, answers, waited = now_ms(), {}, 0
for i, id in ipairs(ARGV) do answers[i] = call('HGET', key('job:' .. id), 'status') end
for i, id in ipairs(ARGV) do
  if answers[i] == 'queued' or answers[i] == 'scheduled' then
    call('ZREM', key(INDEX[answers[i]]), id)
    call('HSET', key('job:' .. id), 'status', 'cancelled', 'finished', digits(now))
    call('ZADD', key('cancelled'), digits(now), id)
    answers[i], waited = 'cancelled', waited + 1
  elseif answers[i] == 'processing' then
    call('HSET', key('job:' .. id), 'cancel', digits(now))
    answers[i] = 'asked'
  end
end
if waited > 0 then count('cancelled', waited, now) end
return answers
