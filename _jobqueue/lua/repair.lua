-- needs: prelude jobs tokens places statuses lanes limits leases kinds fair tags webhooks edges ends parked marks
-- Puts jobs right: each into the one index that its hash names, with no more attempts than it may make. While it runs, it stands
-- once in its slot's list. What is parked goes back into the queue, dead letters under the kind of their last error. Removes ids
-- that have no hash.
-- KEYS  1 prefix
-- ARGV  1 1 to make the books balance afterwards   2... ids
-- Returns how many of the ids are jobs.
local WHEN = { scheduled = 'due', blocked = 'created', done = 'finished', failed = 'finished', cancelled = 'finished' }
local now, jobs, repaired = now_ms(), 0, {}

local function attempts_of(job) return tonumber(job.attempts or 0) or 0, tonumber(job.max_attempts) or math.huge end

-- A dead letter where nobody can say what it was: an operator looks among them.
local function right_status(job)
  local status, attempts, most = job.status, attempts_of(job)
  if status == 'processing' and not seq_of(job.token or '') then status = 'queued' end -- no worker can finish it
  local spent = (status == 'queued' or status == 'scheduled') and attempts >= most
  return (spent or not INDEX[status]) and 'failed' or status
end

-- Removes an id from every index but one.
local function leave_others(job, right)
  unpark(job.id, job.type)
  for _, index in pairs(INDEX) do
    if index == 'leases' and index ~= right and call('ZSCORE', key('leases'), job.id) then
      left_processing({ job })
    elseif index ~= right then
      call('ZREM', key(index), job.id)
    end
  end
end

local function repair_hash(job, status)
  local attempts, most = attempts_of(job)
  local least = (status == 'processing' or status == 'done') and 1 or 0
  if not job.score then job.score = place_of(5, call('HINCRBY', key('meta'), 'seq', 1)) end
  call('HSET', key('job:' .. job.id), 'score', job.score, 'attempts', digits(math.max(least, math.min(attempts, most))))
  if status == job.status then return end
  job.status = status
  if status ~= 'failed' then return call('HSET', key('job:' .. job.id), 'status', status) end
  job.finished = digits(now)
  ended(job, status, job.finished)
end

local function enter_index(job)
  local index = INDEX[job.status]
  local score = index == 'queue' and job.score or job[WHEN[job.status]] or digits(now) -- a lease ends now: the reaper takes over
  if index == 'queue' or not call('ZSCORE', key(index), job.id) then call('ZADD', key(index), score, job.id) end
  if index ~= 'leases' then return end
  local slot = slot_of(job.token)
  call('LREM', key('processing:' .. slot), 0, job.id)
  call('RPUSH', key('processing:' .. slot), job.id)
  call('HSETNX', key('slots'), slot, seq_of(job.token))
end

local function refile(job)
  if job.kind then
    unfile(job.kind, job.id)
    call('HDEL', key('job:' .. job.id), 'kind')
  end
  if job.status ~= 'failed' then return end
  local kind = string.match(job['error:' .. (job.errors or '')] or '', '^%S+ %S+ (%S+) ')
  file_under(kind or 'unknown', job.id, call('ZSCORE', key('failed'), job.id))
end

for i = 2, #ARGV do
  local job = job_of(ARGV[i], call('HGETALL', key('job:' .. ARGV[i])))
  local status = job and right_status(job)
  leave_others(job or { id = ARGV[i] }, INDEX[status or ''])
  if job then
    jobs, repaired[job.id] = jobs + 1, true
    if job.tags then TAGGED[job.id] = true end
    repair_hash(job, status)
    enter_index(job)
    refile(job)
  end
end
write_ends(now, repaired)
if ARGV[1] == '1' then
  local totals = call('HMGET', key('totals'), 'deleted', 'trimmed')
  local sum = (totals[1] or 0) + (totals[2] or 0)
  for _, index in pairs(INDEX) do sum = sum + call('ZCARD', key(index)) end
  sum = sum + call('ZCARD', key('held'))
  call('HSET', key('totals'), 'submitted', digits(sum))
end
local meta = call('HMGET', key('meta'), 'bells', 'gates', 'rev')
if meta[2] == '2' then
  local room = limits_room(refresh_lane)
  for id in pairs(repaired) do room.count_in(id) end
end
if meta[3] then mark(meta[3], now, repaired) end
ring(meta)
return jobs
