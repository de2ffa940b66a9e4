-- needs: prelude
-- Counts the jobs of indexes. What is parked counts as in the queue.
-- KEYS  1 prefix
-- ARGV  1, 2 only those with a score from the first on and below the second; both '' for all   3... indexes
-- Returns the size of each.
local since, before, sizes = ARGV[1], ARGV[2], {}
local all = since .. before == ''

local function size_of(index)
  if all then return call('ZCARD', key(index)) end
  return call('ZCOUNT', key(index), since == '' and '-inf' or since, before == '' and '+inf' or '(' .. before)
end

for i = 3, #ARGV do
  sizes[i - 2] = size_of(ARGV[i])
  if ARGV[i] == 'queue' then sizes[i - 2] = sizes[i - 2] + call('ZCARD', key('held')) end
end
return sizes
