-- needs: prelude
-- Counts the dead letters of each kind of error that has new ones.
-- KEYS  1 prefix
-- ARGV  1 those are new that failed at this time, ms, or later
-- Returns for each such kind {kind, how many in all, how many are new, when the first of these failed}.
local since, rows = ARGV[1], {}
for _, kind in ipairs(call('SMEMBERS', key('kinds'))) do
  local index = key('kind:' .. kind)
  local first = call('ZRANGEBYSCORE', index, since, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
  if first[1] then
    rows[#rows + 1] = { kind, call('ZCARD', index), call('ZCOUNT', index, since, '+inf'), first[2] }
  end
end
return rows
