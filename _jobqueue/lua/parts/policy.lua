-- seldom policy
-- How often a job is tried, how long an attempt may take, how long a failed one waits.

-- Returns max_attempts, timeout_ms, backoff_ms: what the job names, else its type's, else the caller's defaults (three strings).
-- With `spread` also the longest backoff in ms (by default an hour, or the first backoff if that is longer) and its jitter, 0 to 1.
local function policy_of(job, defaults, spread)
  local attempts, timeout, backoff = job.max_attempts, job.timeout_ms, job.backoff_ms
  if not (attempts and timeout and backoff) then
    local published = call('HGET', key('types'), job.type or '')
    local a, t, b
    if published then a, t, b = string.match(published, '^(%d+) (%d+) (%d+)$') end
    attempts = attempts or a or defaults[1]
    timeout = timeout or t or defaults[2]
    backoff = backoff or b or defaults[3]
  end
  if not spread then return tonumber(attempts), tonumber(timeout), tonumber(backoff) end
  local most, jitter = job.max_backoff_ms, job.jitter
  if not (most and jitter) then
    local m, j = string.match(call('HGET', key('backoffs'), job.type or '') or '', '^(%S+) (%S+)$')
    most, jitter = most or m, jitter or j
  end
  backoff = tonumber(backoff)
  return tonumber(attempts), tonumber(timeout), backoff, tonumber(most) or math.max(3600000, backoff), tonumber(jitter) or 0
end
