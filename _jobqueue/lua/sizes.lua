-- needs: prelude
-- Counts the jobs of indexes.
-- KEYS  1 prefix
-- ARGV  indexes
-- Returns the size of each.
local sizes = {}
for i, index in ipairs(ARGV) do sizes[i] = call('ZCARD', key(index)) end
return sizes
