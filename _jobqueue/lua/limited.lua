-- needs: prelude lanes limits
-- Reads limits: what is defined, and names of patterns that run or wait, until it has looked at many lanes.
-- KEYS  1 prefix
-- ARGV  1 'from': names after the next one, by the alphabet; 'one': that name alone   2 name, or '' for the first   3 most names
-- Returns for each of the first names {name, by which definition, most that run, most that start, in so many seconds;
--   how many run, how many wait for it;   when it opens by time, 'inf' by an end, '' while it is open}.
--   Of a pattern itself none run or wait.
local LANES_MOST = 10000
local room, now, rows, looks = limits_room(refresh_lane), now_ms(), {}, 0

-- How many wait under a name, as far as claims have met them.
local function waiting(name)
  local n, seen = 0, 0
  local job_type = string.match(name, '^type:(.*)$')
  if job_type then
    if call('ZSCORE', key('shut'), name) then n = call('ZCARD', key('lane:' .. job_type)) end
    return n
  end
  for _, waits in ipairs(call('SMEMBERS', key('waits:' .. name))) do
    for _, lane in ipairs(call('ZRANGE', key('group:' .. waits .. ' ' .. name), 0, LANES_MOST - seen - 1)) do
      n, seen, looks = n + call('ZCARD', key('lane:' .. lane)), seen + 1, looks + 1
    end
    if seen >= LANES_MOST then break end
  end
  return n
end

local names = { ARGV[2] }
if ARGV[1] == 'from' then
  names = call('ZRANGEBYLEX', key('limited'), ARGV[2] == '' and '-' or '(' .. ARGV[2], '+', 'LIMIT', 0, ARGV[3])
end
for _, name in ipairs(names) do
  local limit = room.definition(name)
  local running, waits = call('SCARD', key('permits:' .. name)), waiting(name)
  if limit then
    local at = room:shut_until(name, now)
    rows[#rows + 1] = { name, limit.by, limit.max, limit.starts, limit.per_ms / 1000, running, waits,
      at == math.huge and 'inf' or at and digits(at) or '' }
  else
    rows[#rows + 1] = { name, '', 0, 0, 0, running, waits, '' }
  end
  if looks >= LANES_MOST then break end
end
return rows
