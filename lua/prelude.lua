-- Put in front of every script in this folder. KEYS[1] is the queue's key prefix, "jq:{<queue>}:".
-- Times are Redis TIME in ms. A job is read into a table of strings, field -> value.

local call = redis.call
local PREFIX = KEYS[1]
local BELL_TOKEN = '!'
local STATS_KEPT_S = 10800
local NEVER, BACKOFF, IN_PLACE = -3, -2, -1 -- special values of a delay in ms
local MAX_DELAY_MS = 31536000000
local ERRORS_KEPT = 100

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

-- Adds n to a counter for ever and for this minute.
local function count(name, n, now)
  call('HINCRBY', key('totals'), name, n)
  local minute = key('stats:' .. digits(math.floor(now / 60000)))
  if call('HINCRBY', minute, name, n) == n then call('EXPIRE', minute, STATS_KEPT_S) end
end

-- One token in the bell is enough: whoever it wakes rings again if it leaves work behind.
local function ring()
  if call('LLEN', key('bell')) == 0 and call('ZCARD', key('queue')) > 0 then
    call('LTRIM', key('bell'), 0, 0) -- a first write that a full Redis allows
    call('LPUSH', key('bell'), BELL_TOKEN)
  end
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
      status, index, score, when = 'queued', 'queue', job.score, nil
    else
      local delay = failure.delay
      if delay == BACKOFF then delay = policy.backoff_ms * 2 ^ math.min(attempts - 1, 62) end
      status, index, score, when = 'scheduled', 'scheduled', now + math.min(delay, MAX_DELAY_MS), 'due'
    end
  end
  if type(score) == 'number' then score = digits(score) end
  local record = digits(now) .. ' ' .. attempts .. ' ' .. failure.kind .. ' ' .. worker .. '\n' .. failure.message
  call('HSET', key('job:' .. id), 'status', status, 'errors', number, 'error:' .. number, record, unpack(extra or {}))
  if when then call('HSET', key('job:' .. id), when, score) end
  if number > ERRORS_KEPT then call('HDEL', key('job:' .. id), 'error:' .. (number - ERRORS_KEPT)) end
  call('ZADD', key(index), score, id)
  return status
end

