-- seldom
-- What follows an attempt that did not succeed.

local IN_PLACE = -1 -- a delay in ms: none, and the job keeps its place

-- Gives each job of `jobs` whose status is still 'processing', and which has left it, its next status; sets it in job.status.
-- A job that was asked to cancel is cancelled in any case. Else it has one of these, or neither:
--   failure             {delay, kind, message, fields, cancelled}: it waits for its next attempt or becomes a dead letter, as its
--     max_attempts, backoff_ms, max_backoff_ms and jitter decide.
--   snooze              {delay in ms, fields}: it is put off, and the attempt does not count
--   neither             it never started: it keeps its place, and the attempt does not count
-- Of a failure:
--   delay               ms, or IN_PLACE, BACKOFF, AGAIN (the backoff, but this was no error), NEVER (no further attempt)
--   fields              fields and values for its hash, or nil
--   cancelled           true for an attempt that stopped because it was asked to
-- The inner functions are made only when this one is called: most calls of a script need none.
local function retry_or_bury(jobs, now)
  local AGAIN, NEVER, BACKOFF, MAX_DELAY_MS, ERRORS_KEPT = -4, -3, -2, 31536000000, 100
  local SNOOZES_MOST = 10000
  local REASONS = { -- jobqueue.FAILURES; every kind that a handler has made up counts as 'error': counters have few names
    timeout = true, lease_expired = true, interrupted = true, dropped = true, no_handler = true, bad_result = true,
    too_many_snoozes = true
  }
  local now_text = digits(now)

  local function queue_again(job, ...)
    call('HSET', key('job:' .. job.id), 'status', 'queued', ...)
    call('ZADD', key('queue'), job.score or place_of(5, 0), job.id)
    if job.also and string.find(job.also, 'd', 1, true) then note_delivery(job.id, now_text) end
    return 'queued'
  end

  local function schedule(job, due, ...)
    call('HSET', key('job:' .. job.id), 'status', 'scheduled', 'due', due, ...)
    call('ZADD', key('scheduled'), due, job.id)
    if job.also and string.find(job.also, 'd', 1, true) then note_delivery(job.id, due) end
    return 'scheduled'
  end

  local function release(job)
    local attempts = digits(job.attempts - 1)
    if job.cancel then return ended(job, 'cancelled', now_text, 'attempts', attempts) end
    tally('released')
    if job.expires and attempts == '0' and not job.snoozes then may_start_until(job.id, job.expires) end
    return queue_again(job, 'attempts', attempts)
  end

  -- Returns what the hash keeps of a failed attempt: fields and values.
  local function record_of(job, failure)
    local number, slot = (tonumber(job.errors) or 0) + 1, job.token and slot_of(job.token)
    local head = { now_text, tonumber(job.attempts) or 0, failure.kind, slot and worker_of(slot) or '-', job.started or '-' }
    local record = table.concat(head, ' ') .. '\n' .. failure.message
    if number > ERRORS_KEPT then call('HDEL', key('job:' .. job.id), 'error:' .. (number - ERRORS_KEPT)) end
    return { 'errors', digits(number), 'error:' .. number, record, unpack(failure.fields or {}) }
  end

  -- It doubles with each error, not with an attempt that asked for another (`asked`). Redis's own random numbers are the same in
  -- each call.
  local function backoff_of(job, attempts, asked)
    local delay = job.backoff_ms * 2 ^ math.max(0, math.min(attempts - 1 - asked, 62))
    delay = math.min(delay, job.max_backoff_ms)
    if job.jitter == 0 then return delay end
    local random = tonumber(string.sub(redis.sha1hex(job.id .. attempts .. now_text), 1, 8), 16) / 2 ^ 32
    return delay * (1 - job.jitter * random)
  end

  local function fail(job, failure)
    local attempts, delay, fields = tonumber(job.attempts) or 0, failure.delay, record_of(job, failure)
    if failure.cancelled then return ended(job, 'cancelled', now_text, unpack(fields)) end
    tally('errors:' .. (REASONS[failure.kind] and failure.kind or 'error'))
    if job.cancel then return ended(job, 'cancelled', now_text, unpack(fields)) end
    if delay == NEVER or attempts >= job.max_attempts then
      file_under(failure.kind, job.id, now_text)
      return ended(job, 'failed', now_text, unpack(fields))
    end
    tally('retried')
    if delay == IN_PLACE then return queue_again(job, unpack(fields)) end
    local asked = tonumber(job.asked) or 0
    if delay ~= BACKOFF then fields[#fields + 1], fields[#fields + 2] = 'asked', digits(asked + 1) end
    if delay == BACKOFF or delay == AGAIN then delay = backoff_of(job, attempts, asked) end
    return schedule(job, digits(now + math.min(delay, MAX_DELAY_MS)), unpack(fields))
  end

  local function put_off(job, delay, fields)
    local number = (tonumber(job.snoozes) or 0) + 1
    if job.cancel then
      return fail(job, { kind = 'cancelled', message = 'it was asked to stop, and snoozed', cancelled = true, fields = fields })
    end
    if number > SNOOZES_MOST then
      local message = 'its handler has snoozed ' .. SNOOZES_MOST .. ' times'
      return fail(job, { delay = NEVER, kind = 'too_many_snoozes', message = message, fields = fields })
    end
    tally('snoozed')
    local counts = { 'attempts', digits(job.attempts - 1), 'snoozes', digits(number), 'snoozed', now_text }
    call('HSET', key('job:' .. job.id), unpack(counts))
    return schedule(job, digits(now + math.min(delay, MAX_DELAY_MS)), unpack(fields))
  end

  for _, job in ipairs(jobs) do
    if job.status == 'processing' then
      if job.snooze then
        job.status = put_off(job, job.snooze.delay, job.snooze.fields)
      else
        job.status = job.failure and fail(job, job.failure) or release(job)
      end
    end
    if job.tallied then TAGGED[job.id] = true end
  end
end
