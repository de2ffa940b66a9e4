-- How often a job is tried, how long an attempt may take, how long a failed one waits.

-- Returns max_attempts, timeout_ms, backoff_ms: what the job names, else its type's, else the caller's defaults (three strings).
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
