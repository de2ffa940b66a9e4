-- needs: prelude
-- Reads what a comparison with the record needs of some jobs.
-- KEYS  1 prefix
-- ARGV  ids
-- Returns for each {status, '' for one that is not there; 1 when the record has still to learn of it, else 0}.
local rows = {}
for i, id in ipairs(ARGV) do
  rows[i] = { call('HGET', key('job:' .. id), 'status') or '', call('ZSCORE', key('unsaved'), id) and 1 or 0 }
end
return rows
