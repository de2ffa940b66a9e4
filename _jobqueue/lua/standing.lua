-- needs: prelude
-- Reads what a comparison with the record needs of some jobs.
-- KEYS  1 prefix
-- ARGV  ids
-- Returns for each {status, '' for one that is not there;   1 when the record has still to learn of it, else 0;
--   in ms, when it has ended or is due, '' where its status tells of neither}.
local AT = { done = 'finished', failed = 'finished', cancelled = 'finished', scheduled = 'due' }
local rows = {}
for i, id in ipairs(ARGV) do
  local status = call('HGET', key('job:' .. id), 'status') or ''
  local at = AT[status] and call('HGET', key('job:' .. id), AT[status]) or ''
  rows[i] = { status, call('ZSCORE', key('unsaved'), id) and 1 or 0, at }
end
return rows
