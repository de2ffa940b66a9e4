-- needs: prelude jobs policy lanes limits parked
-- Reads jobs, until it has read some MiB.
-- KEYS  1 prefix
-- ARGV  1-3 default max_attempts, timeout_ms, backoff_ms   4... ids
-- Returns for each of the first ids, one at least, {fields and values, jobs in front of it or -1;
--   max_attempts, timeout_ms, backoff_ms}; false when there is none.
local ENOUGH_BYTES = 4194304
local defaults, rows, bytes = { ARGV[1], ARGV[2], ARGV[3] }, {}, 0
for i = 4, #ARGV do
  local flat = call('HGETALL', key('job:' .. ARGV[i]))
  local job = job_of(ARGV[i], flat)
  if not job then
    rows[#rows + 1] = false
  else
    if job.more_after then
      flat[#flat + 1], flat[#flat + 2] = 'after:', table.concat(call('LRANGE', key('after:' .. ARGV[i]), 0, -1), '\n')
    end
    local ahead = job.status == 'queued' and ahead_of(ARGV[i]) or -1
    rows[#rows + 1] = { flat, ahead, policy_of(job, defaults) }
    for _, text in ipairs(flat) do bytes = bytes + #text end
    if bytes > ENOUGH_BYTES then break end
  end
end
return rows
