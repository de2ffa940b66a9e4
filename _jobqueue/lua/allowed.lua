-- needs: prelude unique taken
-- Reads the statuses and unique keys that decide whether some jobs can be operated on.
-- KEYS  1 prefix
-- ARGV  ids
-- Returns for each {its status, '' when there is no such job;
--   1 when a retry of it, after those of the jobs before it, has to wait for another job with its unique key, else 0}.
local rows, named = {}, {}
for i, id in ipairs(ARGV) do
  local f = call('HMGET', key('job:' .. id), 'status', 'unique')
  local job, taken = { unique = f[2] }, 0
  if job.unique and (f[1] == 'failed' or f[1] == 'cancelled') then
    taken = (named[job.unique] or unique_taken(id, job)) and 1 or 0
    named[job.unique] = true
  end
  rows[i] = { f[1] or '', taken }
end
return rows
