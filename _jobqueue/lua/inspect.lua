-- needs: prelude jobs tokens statuses lanes
-- Reads what the checker compares for some jobs, at one instant.
-- KEYS  1 prefix
-- ARGV  ids
-- Returns for each {status, token, score, attempts, max_attempts or 0 where its type decides, now;
--   scores in queue, scheduled, blocked, leases, done, failed, cancelled;   times in its slot's processing list;
--   kind of error under which it stands;   scores in held and in the lane of its type;
--   how many open edges it has, '' where it never had any}. '' means: not there; '?' is the status of a hash that has none.
local rows, now = {}, digits(now_ms())
for i, id in ipairs(ARGV) do
  local job = job_of(id, call('HGETALL', key('job:' .. id))) or { status = '' }
  local attempts, max_attempts = tonumber(job.attempts or 0) or -1, tonumber(job.max_attempts or 0) or 0
  local row = { job.status or '?', job.token or '', job.score or '', attempts, max_attempts, now }
  for _, status in ipairs(STATUSES) do
    row[#row + 1] = call('ZSCORE', key(INDEX[status]), id) or ''
  end
  local held, slot = 0, slot_of(job.token or '')
  if slot then
    for _, other in ipairs(call('LRANGE', key('processing:' .. slot), 0, -1)) do
      if other == id then held = held + 1 end
    end
  end
  row[#row + 1] = held
  local filed = job.kind and call('ZSCORE', key('kind:' .. job.kind), id) and call('SISMEMBER', key('kinds'), job.kind) == 1
  row[#row + 1] = filed and job.kind or ''
  row[#row + 1] = call('ZSCORE', key('held'), id) or ''
  local lane = key('lane:' .. (job.type or DEFAULT_TYPE))
  row[#row + 1] = call('ZSCORE', lane, id) or job.limits and call('ZSCORE', lane .. ' ' .. job.limits, id) or ''
  row[#row + 1] = job.needs or ''
  rows[i] = row
end
return rows
