-- needs: prelude planned
-- Reads schedules, until it has read some MiB.
-- KEYS  1 prefix
-- ARGV  1 1: with whole payloads, 0: with their beginnings   2... names
-- Returns {now, for each of the first names, one at least, what `planned` says; false when there is none}.
local ENOUGH_BYTES = 4194304
local rows, bytes = {}, 0
for i = 2, #ARGV do
  local row = planned(ARGV[i], ARGV[1] == '1')
  rows[i - 1] = row or false
  for _, value in ipairs(row or {}) do bytes = bytes + #tostring(value) end
  if bytes > ENOUGH_BYTES then break end
end
return { digits(now_ms()), rows }
