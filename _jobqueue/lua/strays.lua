-- needs: prelude kinds
-- Finds, and on demand removes, ids that stand under a kind of error and are no dead letters of that kind.
-- KEYS  1 prefix
-- ARGV  1 kind   2 1 to remove them   3... ids that stand there
-- Returns {1 when nothing stands there though the kind is among `kinds`, those ids}.
local kind, strays = ARGV[1], {}
for i = 3, #ARGV do
  local f = call('HMGET', key('job:' .. ARGV[i]), 'status', 'kind')
  local stands = call('ZSCORE', key('kind:' .. kind), ARGV[i])
  if stands and (f[1] ~= 'failed' or f[2] ~= kind) then strays[#strays + 1] = ARGV[i] end
end
local empty = call('EXISTS', key('kind:' .. kind)) < call('SISMEMBER', key('kinds'), kind)
if ARGV[2] == '1' then
  for _, id in ipairs(strays) do unfile(kind, id) end
  if empty then call('SREM', key('kinds'), kind) end
end
return { empty and 1 or 0, strays }
