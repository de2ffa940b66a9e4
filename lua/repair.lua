-- Puts jobs back into the one index that their hash names, and removes ids that have no hash.
-- KEYS  1 prefix
-- ARGV  1 1 to make the books balance afterwards   2... ids
-- Returns how many jobs it changed.
local INDEX = { queued = 'queue', scheduled = 'scheduled', processing = 'leases', done = 'done', failed = 'failed', cancelled = 'cancelled' }
local TIME = { scheduled = 'due', done = 'finished', failed = 'finished', cancelled = 'finished' }
local now, changed = now_ms(), 0
for i = 2, #ARGV do
  local id = ARGV[i]
  local job = job_of(id)
  local right, touched = job and INDEX[job.status], false
  for _, index in pairs(INDEX) do
    if index ~= right and call('ZREM', key(index), id) == 1 then touched = true end
  end
  if job and not right then -- nobody can say what it was: keep it where an operator looks
    right, touched = 'failed', true
    call('HSET', key('job:' .. id), 'status', 'failed', 'finished', digits(now))
  end
  if right == 'queue' and not job.score then
    job.score = digits(4 * 2 ^ 43 + call('HINCRBY', key('meta'), 'seq', 1))
    call('HSET', key('job:' .. id), 'score', job.score)
  end
  if right then
    local score = right == 'queue' and job.score or job[TIME[job.status]] or digits(now) -- a lease ends now: the reaper takes over
    local stored = call('ZSCORE', key(right), id)
    if not stored or (right == 'queue' and stored ~= score) then
      call('ZADD', key(right), score, id)
      touched = true
    end
  end
  if touched then changed = changed + 1 end
end
if ARGV[1] == '1' then
  local totals = call('HMGET', key('totals'), 'deleted', 'trimmed')
  local sum = (totals[1] or 0) + (totals[2] or 0)
  for _, index in pairs(INDEX) do sum = sum + call('ZCARD', key(index)) end
  call('HSET', key('totals'), 'submitted', digits(sum))
end
ring()
return changed
