-- needs: prelude
-- Finds jobs that are tied to others by edges, among the newest of each status but those that wait in the queue or for their time.
-- KEYS  1 prefix
-- ARGV  1 how many of each to look at
-- Returns for each that waits for others, or for which others wait, {id, when it was submitted}. None that tells a webhook, and of
-- those that have one none for which perhaps that alone waits.
local rows = {}
for _, index in ipairs({ 'blocked', 'leases', 'failed', 'cancelled', 'done' }) do
  for _, id in ipairs(call('ZREVRANGE', key(index), 0, ARGV[1] - 1)) do
    local f = call('HMGET', key('job:' .. id), 'also', 'created')
    local has = function(room) return string.find(f[1] or '', room, 1, true) end
    if f[2] and not has('d') and (has('p') or has('c') and not has('w')) then
      rows[#rows + 1] = { id, f[2] }
    end
  end
end
return rows
