-- needs: prelude
-- Counts the jobs of indexes. What is parked counts as in the queue.
-- KEYS  1 prefix
-- ARGV  indexes
-- Returns the size of each.
local sizes = {}
for i, index in ipairs(ARGV) do
  sizes[i] = call('ZCARD', key(index))
  if index == 'queue' then sizes[i] = sizes[i] + call('ZCARD', key('held')) end
end
return sizes
