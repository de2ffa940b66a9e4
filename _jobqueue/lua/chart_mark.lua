-- needs: prelude
-- Keeps a mark for charts, the latest first. A copy answers as the first one did.
-- KEYS  1 prefix
-- ARGV  1 id, made by the caller   2 most marks to keep   3 who set it and its text, JSON
-- Returns the mark: '<when> <id> <JSON>'.
local marks, COPIES = key('chart_marks'), 20 -- among the last of these a copy is looked for
for _, mark in ipairs(call('LRANGE', marks, 0, COPIES - 1)) do
  if string.match(mark, '^%d+ (%S+)') == ARGV[1] then return mark end
end
local mark = table.concat({ digits(now_ms()), ARGV[1], ARGV[3] }, ' ')
call('LTRIM', marks, 0, ARGV[2] - 2) -- a first write that a full Redis allows
call('LPUSH', marks, mark)
return mark
