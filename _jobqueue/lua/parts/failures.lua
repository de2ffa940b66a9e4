-- What follows an attempt that did not succeed.

local NEVER, BACKOFF, IN_PLACE = -3, -2, -1 -- special values of a delay in ms
local MAX_DELAY_MS = 31536000000
local ERRORS_KEPT = 100

-- Puts a job that has left `processing` back into the queue, where it stood. `...`: further fields and values for its hash.
local function queue_again(job, ...)
  call('HSET', key('job:' .. job.id), 'status', 'queued', ...)
  call('ZADD', key('queue'), job.score or place_of(NORMAL, 0), job.id)
end

-- What the hash keeps of a failed attempt.
local function record_of(job, failure, now)
  local slot = job.token and read_token(job.token)
  local worker = slot and worker_of(slot) or '-'
  local head = { digits(now), tonumber(job.attempts) or 0, failure.kind, worker, job.started or '-' }
  return table.concat(head, ' ') .. '\n' .. failure.message
end

-- Counters have few names: a kind that a handler has made up counts as an error.
local function tally_failure(kind)
  local ours = { timeout = true, lease_expired = true, interrupted = true, dropped = true, no_handler = true, bad_result = true }
  tally('errors:' .. (ours[kind] and kind or 'error'))
end

-- Ends an attempt that has failed. A job that was asked to cancel is cancelled, one with attempts left waits `failure.delay` ms (or as
-- NEVER, BACKOFF, IN_PLACE say), any other becomes a dead letter. It has left `processing`, and has its retry policy in `policy`.
-- `extra`: further fields and values for its hash. Returns the new status.
local function fail(job, failure, now, extra)
  local attempts, number = tonumber(job.attempts) or 0, (tonumber(job.errors) or 0) + 1
  local fields = { 'errors', digits(number), 'error:' .. number, record_of(job, failure, now), unpack(extra or {}) }
  if number > ERRORS_KEPT then call('HDEL', key('job:' .. job.id), 'error:' .. (number - ERRORS_KEPT)) end
  tally_failure(failure.kind)
  if job.cancel then
    ended(job, 'cancelled', digits(now), unpack(fields))
    return 'cancelled'
  end
  if failure.delay == NEVER or attempts >= job.policy.max_attempts then
    ended(job, 'failed', digits(now), unpack(fields))
    file_under(failure.kind, job.id, digits(now))
    return 'failed'
  end
  tally('retried')
  if failure.delay == IN_PLACE then
    queue_again(job, unpack(fields))
    return 'queued'
  end
  local delay = failure.delay
  if delay == BACKOFF then delay = job.policy.backoff_ms * 2 ^ math.min(attempts - 1, 62) end
  local due = digits(now + math.min(delay, MAX_DELAY_MS))
  call('HSET', key('job:' .. job.id), 'status', 'scheduled', 'due', due, unpack(fields))
  call('ZADD', key('scheduled'), due, job.id)
  return 'scheduled'
end
