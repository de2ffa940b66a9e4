-- Reads what the checker compares for some jobs, at one instant.
-- KEYS  1 prefix
-- ARGV  ids
-- Returns for each {status, token, score, attempts, max_attempts or 0 where its type decides, now, scores in queue, scheduled, leases, done, failed, cancelled,
-- times in its slot's processing list}; '' stands for what is not there.
local rows, now = {}, digits(now_ms())
for i, id in ipairs(ARGV) do
  local job = job_of(id) or {}
  local row = { job.status or '', job.token or '', job.score or '', job.attempts or '0', job.max_attempts or '0', now }
  for _, index in ipairs({ 'queue', 'scheduled', 'leases', 'done', 'failed', 'cancelled' }) do
    row[#row + 1] = call('ZSCORE', key(index), id) or ''
  end
  local held = 0
  if job.token then
    for _, other in ipairs(call('LRANGE', key('processing:' .. slot_of(job.token)), 0, -1)) do
      if other == id then held = held + 1 end
    end
  end
  row[#row + 1] = held
  rows[i] = row
end
return rows
