-- Put in front of every script in this folder. KEYS[1] is the queue's key prefix, "jq:{<queue>}:".
-- Times are Redis TIME in ms. A job is read into a table of strings, field -> value.

local call = redis.call
local PREFIX = KEYS[1]
local BELL_TOKEN = '!'
local STATS_KEPT_S = 10800
local NEVER, BACKOFF, IN_PLACE = -3, -2, -1 -- special values of a delay in ms
local MAX_DELAY_MS = 31536000000
local MIDDLE = '35184372088832' -- the place of a job that has none: first of the normal priority
local ERRORS_KEPT = 100
local KINDS_KEPT = 200 -- of errors; dead letters of any further kind stand together
local IDEMPOTENCY_MS = 86400000
local PRIORITY_STEP = 2 ^ 43
local INDEX = {
  queued = 'queue', scheduled = 'scheduled', processing = 'leases', done = 'done', failed = 'failed', cancelled = 'cancelled'
}

local function key(name) return PREFIX .. name end

local function digits(number) return string.format('%.0f', number) end

local function now_ms()
  local t = call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

local function table_of(flat)
  if #flat == 0 then return nil end
  local job = {}
  for i = 1, #flat, 2 do job[flat[i]] = flat[i + 1] end
  return job
end

local function job_of(id) return table_of(call('HGETALL', key('job:' .. id))) end

local function slot_of(token) return string.match(token, '^(.*):') end

local function minute_key(now) return key('stats:' .. digits(math.floor(now / 60000))) end

-- Adds n to a counter for ever and for this minute.
local function count(name, n, now)
  call('HINCRBY', key('totals'), name, n)
  local minute = minute_key(now)
  if call('HINCRBY', minute, name, n) == tonumber(n) then call('EXPIRE', minute, STATS_KEPT_S) end
end

-- One token in the bell is enough: whoever it wakes rings again if it leaves work behind.
local function ring()
  if call('LLEN', key('bell')) == 0 and call('ZCARD', key('queue')) > 0 and call('HGET', key('meta'), 'paused') ~= '1' then
    call('LTRIM', key('bell'), 0, 0) -- a first write that a full Redis allows
    call('LPUSH', key('bell'), BELL_TOKEN)
  end
end

-- Since when the job could run that has waited longest in the queue; nil when none waits. The first of each of the ten
-- priorities is its oldest.
local function waiting_since(now)
  local since, from = nil, '-inf'
  for _ = 1, 10 do
    local first = call('ZRANGEBYSCORE', key('queue'), from, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
    if not first[1] then break end
    local f = call('HMGET', key('job:' .. first[1]), 'due', 'created')
    since = math.min(since or now, tonumber(f[1] or f[2] or now) or now)
    from = digits((math.floor(first[2] / PRIORITY_STEP) + 1) * PRIORITY_STEP)
  end
  return since
end

local function lives(id)
  local status = call('HGET', key('job:' .. id), 'status')
  return status == 'queued' or status == 'scheduled' or status == 'processing'
end

-- Puts a dead letter among those whose last error has that kind; `kind` in its hash says where it stands.
local function file_under(kind, id, when)
  if call('SISMEMBER', key('kinds'), kind) == 0 then
    if call('SCARD', key('kinds')) >= KINDS_KEPT then kind = 'other' end
    call('SADD', key('kinds'), kind)
  end
  call('HSET', key('job:' .. id), 'kind', kind)
  call('ZADD', key('kind:' .. kind), when, id)
end

-- Takes it out again. The caller sees to its hash.
local function unfile(kind, id)
  call('ZREM', key('kind:' .. kind), id)
  if call('EXISTS', key('kind:' .. kind)) == 0 then call('SREM', key('kinds'), kind) end
end

-- What erase has to know of a job, and its status; not what may be large.
local function traces_of(id)
  local f = call('HMGET', key('job:' .. id), 'status', 'idem', 'created', 'tags', 'unique', 'kind')
  return { status = f[1], idem = f[2], created = f[3], tags = f[4] or nil, unique = f[5], kind = f[6] }
end

-- Deletes a job's hash and what else knows of it but its status's index. Its idempotency key lives as long as the last of its
-- jobs, and at least IDEMPOTENCY_MS.
local function erase(id, job, now)
  call('DEL', key('job:' .. id))
  if job.kind then unfile(job.kind, id) end
  for tag in string.gmatch(job.tags or '', '%S+') do call('ZREM', key('tag:' .. tag), id) end
  if job.unique and call('GET', key('unique:' .. job.unique)) == id then call('DEL', key('unique:' .. job.unique)) end
  if job.idem and call('HINCRBY', key('idem:' .. job.idem), 'jobs', -1) <= 0 then
    call('PEXPIRE', key('idem:' .. job.idem), digits(math.max(1, (tonumber(job.created) or 0) + IDEMPOTENCY_MS - now)))
  end
end

-- Queues an ended job again, last of its priority, with a new count of attempts. The caller has removed it from its index.
local function start_anew(id, job, request)
  local seq = call('HINCRBY', key('meta'), 'seq', 1)
  local score = digits(math.floor(job.score / PRIORITY_STEP) * PRIORITY_STEP + seq)
  call('HDEL', key('job:' .. id), 'token', 'cancel', 'finished', 'started', 'kind')
  call('HSET', key('job:' .. id), 'status', 'queued', 'score', score, 'attempts', '0', 'retry', request, 'due', digits(now_ms()))
  if job.kind then unfile(job.kind, id) end
  if job.unique then call('SET', key('unique:' .. job.unique), id) end
  call('ZADD', key('queue'), score, id)
end

-- Another job that has not ended holds this one's unique key.
local function unique_taken(id, job)
  local holder = job.unique and call('GET', key('unique:' .. job.unique))
  return holder and holder ~= id and lives(holder)
end

-- max_attempts, timeout_ms, backoff_ms: what the job names, else its type's, else the caller's defaults (three strings).
local function policy_of(job, defaults)
  local attempts, timeout, backoff = job.max_attempts, job.timeout_ms, job.backoff_ms
  if not (attempts and timeout and backoff) then
    local published = call('HGET', key('types'), job.type or '')
    local a, t, b
    if published then a, t, b = string.match(published, '^(%d+) (%d+) (%d+)$') end
    attempts = attempts or a or defaults[1]
    timeout = timeout or t or defaults[2]
    backoff = backoff or b or defaults[3]
  end
  return tonumber(attempts), tonumber(timeout), tonumber(backoff)
end

-- The part of it that decides what follows a failed attempt.
local function retry_policy_of(job, defaults)
  local max_attempts, _, backoff_ms = policy_of(job, defaults)
  return { max_attempts = max_attempts, backoff_ms = backoff_ms }
end

-- Failures of the system by their kind, everything that a handler may raise as one: counters have few names.
local REASONS = { timeout = true, lease_expired = true, interrupted = true, dropped = true, no_handler = true, bad_result = true }
local function reason_of(kind) return REASONS[kind] and kind or 'error' end

-- Ends an attempt that did not succeed: a cancelled job is cancelled, one with attempts left waits `delay` ms
-- (or as BACKOFF, IN_PLACE, NEVER say), any other becomes a dead letter. The caller has removed it from `leases`.
-- Returns the new status. `extra` (fields and values) is stored with it.
local function fail(id, job, policy, failure, now, extra)
  local attempts = tonumber(job.attempts) or 0
  local number = (tonumber(job.errors) or 0) + 1
  local worker = job.token and string.match(job.token, '^(.*)%-%d+:%d+$') or '-'
  local status, index, score, when = 'failed', 'failed', now, 'finished'
  if job.cancel then
    status, index = 'cancelled', 'cancelled'
  elseif failure.delay ~= NEVER and attempts < policy.max_attempts then
    if failure.delay == IN_PLACE then
      status, index, score, when = 'queued', 'queue', job.score or MIDDLE, nil
    else
      local delay = failure.delay
      if delay == BACKOFF then delay = policy.backoff_ms * 2 ^ math.min(attempts - 1, 62) end
      status, index, score, when = 'scheduled', 'scheduled', now + math.min(delay, MAX_DELAY_MS), 'due'
    end
  end
  if type(score) == 'number' then score = digits(score) end
  local head = digits(now) .. ' ' .. attempts .. ' ' .. failure.kind .. ' ' .. worker .. ' ' .. (job.started or '-')
  local record = head .. '\n' .. failure.message
  call('HSET', key('job:' .. id), 'status', status, 'errors', digits(number), 'error:' .. number, record, unpack(extra or {}))
  if when then call('HSET', key('job:' .. id), when, score) end
  if number > ERRORS_KEPT then call('HDEL', key('job:' .. id), 'error:' .. (number - ERRORS_KEPT)) end
  call('ZADD', key(index), score, id)
  if status == 'failed' then file_under(failure.kind, id, score) end
  return status
end

