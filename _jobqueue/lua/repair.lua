-- Puts jobs right: each into the one index that its hash names, with no more attempts than it may make and, while it runs,
-- once into its slot's list; dead letters under the kind of their last error. Ids that have no hash are removed.
-- KEYS  1 prefix
-- ARGV  1 1 to make the books balance afterwards   2... ids
-- Returns how many of the ids are jobs.
local WHEN = { scheduled = 'due', done = 'finished', failed = 'finished', cancelled = 'finished' }
local now, jobs = now_ms(), 0

local function holder(job) return string.match(job.token or '', '^(.*):(%d+)$') end

local function repair_hash(id, job)
  local function set(field, value)
    job[field] = value
    call('HSET', key('job:' .. id), field, value)
  end
  if not job.score then set('score', digits(4 * 2 ^ 43 + call('HINCRBY', key('meta'), 'seq', 1))) end
  if job.status == 'processing' and not holder(job) then set('status', 'queued') end -- nobody can finish it
  local attempts, most = tonumber(job.attempts or 0) or 0, tonumber(job.max_attempts) or math.huge
  local least = (job.status == 'processing' or job.status == 'done') and 1 or 0
  set('attempts', digits(math.max(least, math.min(attempts, most))))
  local spent = (job.status == 'queued' or job.status == 'scheduled') and attempts >= most
  if spent or not INDEX[job.status] then -- where nobody can say what it was, an operator looks among the dead letters
    set('status', 'failed')
    set('finished', digits(now))
  end
end

local function refile(id, job)
  if job.kind then
    unfile(job.kind, id)
    call('HDEL', key('job:' .. id), 'kind')
  end
  if job.status ~= 'failed' then return end
  local kind = string.match(job['error:' .. (job.errors or '')] or '', '^%S+ %S+ (%S+) ')
  file_under(kind or 'unknown', id, call('ZSCORE', key('failed'), id))
end

for i = 2, #ARGV do
  local id = ARGV[i]
  local job = job_of(id)
  if job then
    jobs = jobs + 1
    repair_hash(id, job)
    local right = INDEX[job.status]
    local score = right == 'queue' and job.score or job[WHEN[job.status]] or digits(now) -- a lease ends now: the reaper takes over
    if right == 'queue' or not call('ZSCORE', key(right), id) then call('ZADD', key(right), score, id) end
    if right == 'leases' then
      local slot, seq = holder(job)
      call('LREM', key('processing:' .. slot), 0, id)
      call('RPUSH', key('processing:' .. slot), id)
      call('HSETNX', key('slots'), slot, seq)
    end
    refile(id, job)
  end
  for _, index in pairs(INDEX) do
    if not job or index ~= INDEX[job.status] then call('ZREM', key(index), id) end
  end
end
if ARGV[1] == '1' then
  local totals = call('HMGET', key('totals'), 'deleted', 'trimmed')
  local sum = (totals[1] or 0) + (totals[2] or 0)
  for _, index in pairs(INDEX) do sum = sum + call('ZCARD', key(index)) end
  call('HSET', key('totals'), 'submitted', digits(sum))
end
ring()
return jobs
