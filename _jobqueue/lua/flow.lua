-- needs: prelude parents
-- Reads jobs of a workflow, and whom they wait for and who waits for them.
-- KEYS  1 prefix
-- ARGV  ids
-- Returns for each {status, type, its name or '', {ids of its parents}, {ids of its children}}; false when there is no such job.
local rows = {}
for i, id in ipairs(ARGV) do
  local f = call('HMGET', key('job:' .. id), 'status', 'type', 'name', 'also')
  local parents, children = {}, {}
  if f[4] and string.find(f[4], 'p', 1, true) then
    for at, text in ipairs(parents_of(id)) do parents[at] = id_of(text) end
  end
  if f[4] and string.find(f[4], 'c', 1, true) then children = call('ZRANGE', key('then:' .. id), 0, -1) end
  rows[i] = f[1] and { f[1], f[2] or '', f[3] or '', parents, children } or false
end
return rows
