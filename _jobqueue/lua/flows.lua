-- needs: prelude listed
-- Finds jobs that are tied to others by edges, some of each status.
-- KEYS  1 prefix
-- ARGV  1 how many of each to look at   2 which so many: 0 are the newest   3 when the first page was read, in ms, or ''
-- Returns {for each that waits for others, or for which others wait, {id, when it was submitted}; 1 when an index may have more; now}.
local step, rows, more = tonumber(ARGV[1]), {}, 0
for _, index in ipairs(LISTED) do
  local start = come_since(index, ARGV[3]) + step * ARGV[2]
  local ids = call('ZREVRANGE', key(index), start, start + step - 1)
  if #ids == step then more = 1 end
  for _, id in ipairs(ids) do
    local created = tied(id)
    if created then rows[#rows + 1] = { id, created } end
  end
end
return { rows, more, digits(now_ms()) }
