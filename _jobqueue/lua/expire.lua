-- needs: prelude expiry places fair tags webhooks edges ends lanes limits parked marks
-- Cancels jobs that have not started in time, wherever they wait, also where nothing is given out.
-- KEYS  1 prefix
-- ARGV  1 most ids to look at
-- Returns {how many ids it took from `expires`: as many as asked for means that there may be more; of the cancelled jobs: id ...}.
if call('EXISTS', key('expires')) == 0 then
  call('HDEL', key('meta'), 'expires')
  return { 0 }
end
local now = now_ms()
local ids = call('ZRANGEBYSCORE', key('expires'), '-inf', digits(now), 'LIMIT', 0, ARGV[1])
if #ids == 0 then return { 0 } end
local answer, late, changed = { #ids }, {}, {}
for _, id in ipairs(ids) do late[#late + 1] = unstarted(id) end -- one that a program of the release before has claimed is not
call('ZREM', key('expires'), unpack(ids)) -- a first write that a full Redis allows
for i, job in ipairs(late) do
  if job.status == 'queued' then unqueue(job.id) else call('ZREM', key('scheduled'), job.id) end
  expire(job, now, ended, changed)
  tally('expired')
  answer[1 + i] = job.id
end
local told = write_ends(now, changed)
local rev = next(changed) and call('HGET', key('meta'), 'rev')
if rev then mark(rev, now, changed) end
if told and told.queued then ring() end
return answer
