-- needs: prelude planned
-- Reads the schedules that are due, those that have been for longest first, until it has read some MiB.
-- KEYS  1 prefix
-- ARGV  1 the first of them to read, from 0   2 most of them
-- Returns {now, {name, what `planned` says or false} ...}; none when no further one is due.
local ENOUGH_BYTES = 4194304
local now, rows, bytes = now_ms(), {}, 0
for _, name in ipairs(call('ZRANGEBYSCORE', key('schedules'), '-inf', digits(now), 'LIMIT', ARGV[1], ARGV[2])) do
  local row = planned(name, true)
  rows[#rows + 1] = { name, row or false }
  for _, value in ipairs(row or {}) do bytes = bytes + #tostring(value) end
  if bytes > ENOUGH_BYTES then break end
end
return { digits(now), rows }
