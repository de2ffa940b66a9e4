-- needs: prelude expiry statuses kinds places fair tags webhooks edges ends erase lanes limits parked marks
-- Deletes jobs that do not run, hash and indexes together. Where a record is kept, it is told to forget them too.
-- KEYS  1 prefix
-- ARGV  ids, each once
-- Returns for each 'deleted', or 'processing', which forbids it; false when there is no such job. Then 'left' when
-- children are still to be told (tell.lua).
local now, answers, jobs, changed, n = now_ms(), {}, {}, {}, 0
for i, id in ipairs(ARGV) do jobs[i] = traces_of(id) end
local rev, expires = unpack(call('HMGET', key('meta'), 'rev', 'expires'))
for i, id in ipairs(ARGV) do
  answers[i] = jobs[i].status
  if answers[i] and answers[i] ~= 'processing' then
    if answers[i] == 'queued' then unqueue(id) else call('ZREM', key(INDEX[answers[i]] or 'failed'), id) end
    if expires then never_starts(id) end
    erase(id, jobs[i], now, 'deleted', rev)
    answers[i], changed[id], n = 'deleted', true, n + 1
  end
end
if n > 0 then count('deleted', n, now) end
local told = write_ends(now, changed)
if rev then mark(rev, now, changed) end
if told and told.queued then ring() end
if told and told.left then answers[#ARGV + 1] = 'left' end
return answers
