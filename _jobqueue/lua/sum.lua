-- needs: prelude by_type sums
-- Notes how a queue goes, for charts and for the time that it takes to drain: now how many wait and have ended; of a minute that is
-- over what waited at its end, of each type; and it adds minutes that are over to the sums of their ten minutes. What is sent twice,
-- or by two reapers, changes nothing. What a hand has spoiled of the figures stops no reaper.
-- KEYS  1 prefix
-- ARGV  1 most counters, each of a type in a minute, to add   2 a minute that somebody has looked at just after its end, or ''   3 how many waited then
--       then for each type: type, JSON: waiting, and submitted: how many came in that minute
-- Returns the minute that is to be looked at, or ''. Nothing is added before somebody has looked.
local WHOLE, OTHER, TYPES_MOST, MINUTE_KEPT_S = '*', 'other', 20, 4500
local RECENT_MS, RECENT_MOST, RECENT_KEPT_S = 9000, 10, 600
local CLOCK_MINUTES = 60 -- set back by less, it is waited for: no minute is added twice
local SETTLED_MS = 4000 -- after its end a minute's last beats have come
local SUMMED = { submitted = true, done = true, failed = true, retried = true, waiting = true, oldest_ms = true }
local now = now_ms()
local this = math.floor(now / 60000)

local function note_recent()
  local last = string.match(call('LINDEX', key('recent'), 0) or '', '^%d+')
  if last and now - last >= 0 and now - last < RECENT_MS then return end
  if last and now - last < 0 then call('DEL', key('recent')) end -- Redis's clock was set back
  local totals = call('HMGET', key('totals'), 'done', 'failed')
  local waiting = call('ZCARD', key('queue')) + call('ZCARD', key('held'))
  if not last and waiting == 0 then return end
  call('LTRIM', key('recent'), 0, RECENT_MOST - 2) -- a first write that a full Redis allows
  call('LPUSH', key('recent'), string.format('%.0f %.0f %.0f', now, waiting, (totals[1] or 0) + (totals[2] or 0)))
  call('EXPIRE', key('recent'), RECENT_KEPT_S)
end

local function add(sum, more)
  for name, n in pairs(more) do
    if name == 'waiting' then
      sum[name] = n -- at the end
    elseif name == 'oldest_ms' then
      sum[name] = math.max(sum[name] or 0, n)
    elseif name ~= 'since' then
      sum[name] = (sum[name] or 0) + n
    end
  end
end

-- The counters of a minute: {type or WHOLE, counters} ...
local function rows_of(minute)
  local rows, whole, flat = {}, {}, call('HGETALL', minute_key(minute * 60000))
  for i = 1, #flat, 2 do
    if SUMMED[flat[i]] or string.find(flat[i], '^wait:') or string.find(flat[i], '^run:') then
      whole[flat[i]] = tonumber(flat[i + 1])
    end
  end
  if next(whole) then rows[1] = { WHOLE, whole } end
  flat = call('HGETALL', by_type_key(minute * 60000))
  for i = 1, #flat, 2 do rows[#rows + 1] = { flat[i], cjson.decode(flat[i + 1]) } end
  return rows
end

-- Of ten minutes that are over, those types keep a row of which most happened.
local function leave_few(sums)
  if call('HLEN', sums) <= TYPES_MOST + 2 then return end
  local flat, rows, other = call('HGETALL', sums), {}, {}
  for i = 1, #flat, 2 do
    local counts = cjson.decode(flat[i + 1])
    if flat[i] == OTHER then
      other = counts
    elseif flat[i] ~= WHOLE then
      local n = (counts.done or 0) + (counts.failed or 0) + (counts.submitted or 0) + (counts.waiting or 0)
      rows[#rows + 1] = { name = flat[i], counts = counts, n = n }
    end
  end
  table.sort(rows, function(a, b) return a.n > b.n or (a.n == b.n and a.name < b.name) end)
  local waiting = other.waiting or 0
  for i = TYPES_MOST + 1, #rows do
    waiting = waiting + (rows[i].counts.waiting or 0)
    add(other, rows[i].counts)
    call('HDEL', sums, rows[i].name)
  end
  other.waiting = waiting
  call('HSET', sums, OTHER, cjson.encode(other))
end

-- Returns how much it has added. `before`: the minute that was added last.
local function add_minute(minute, before)
  local sums, rows = sums_key(minute), rows_of(minute)
  if math.floor(minute / SUM_MINUTES) ~= math.floor(before / SUM_MINUTES) then leave_few(sums_key(before)) end
  for _, row in ipairs(rows) do
    local old = call('HGET', sums, row[1])
    local sum = old and cjson.decode(old) or {}
    add(sum, row[2])
    call('HSET', sums, row[1], cjson.encode(sum))
  end
  if #rows > 0 then call('EXPIRE', sums, SUMS_KEPT_S) end
  return #rows + 1
end

-- Of the minute that somebody has looked at.
local function note_look(minute)
  local stats, types = minute_key(minute * 60000), by_type_key(minute * 60000)
  if ARGV[3] ~= '0' or call('EXISTS', stats) == 1 then
    call('HSET', stats, 'waiting', ARGV[3])
    if call('TTL', stats) < 0 then call('EXPIRE', stats, STATS_KEPT_S) end
  end
  for i = 4, #ARGV, 2 do
    local old = call('HGET', types, ARGV[i])
    local counts = old and cjson.decode(old) or {}
    for name, n in pairs(cjson.decode(ARGV[i + 1])) do counts[name] = n end
    call('HSET', types, ARGV[i], cjson.encode(counts))
  end
  if #ARGV > 3 and call('TTL', types) < 0 then call('EXPIRE', types, MINUTE_KEPT_S) end
end

local function add_minutes()
  local summed = tonumber(call('HGET', key('meta'), 'summed') or 0)
  if summed > this + CLOCK_MINUTES then summed = this - 1 end -- Redis's clock was set back
  local looked = tonumber(ARGV[2])
  if not looked then return summed < this - 1 and now - this * 60000 >= SETTLED_MS and digits(this - 1) or '' end
  if looked <= summed or looked >= this then return '' end
  local first = math.max(summed + 1, this - STATS_KEPT_S / 60 + 5)
  call('HDEL', key('meta'), 'summed') -- a first write that a full Redis allows
  call('HSET', key('meta'), 'summed', digits(first)) -- what cannot be added is not tried for ever
  note_look(looked)
  local minute, left = first, tonumber(ARGV[1]) - add_minute(first, summed)
  while minute < looked and left > 0 do
    minute = minute + 1
    call('HSET', key('meta'), 'summed', digits(minute))
    left = left - add_minute(minute, minute - 1)
  end
  return minute < looked and digits(looked) or ''
end

pcall(note_recent)
local ok, wanted = pcall(add_minutes)
return ok and wanted or ''
