-- needs: prelude marks
-- Marks jobs that the record does not hold as they are, though no transition has said so. Those that are marked stay as they are.
-- KEYS  1 prefix
-- ARGV  ids
-- Returns how many it has marked.
local now, rev, n, jobs = now_ms(), call('HGET', key('meta'), 'rev'), 0, {}
if not rev then return 0 end
for _, id in ipairs(ARGV) do
  if call('EXISTS', key('job:' .. id)) == 1 and not call('ZSCORE', key('unsaved'), id) then jobs[id], n = true, n + 1 end
end
call('HDEL', key('meta'), '') -- a first write that a full Redis allows
mark(rev, now, jobs)
return n
