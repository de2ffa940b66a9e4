-- needs: prelude places lanes by_type
-- Reads what waits of each type, and what was counted of each. Looks at a bounded number of jobs: of a long queue at some that
-- are evenly spread, half of them among those submitted since the minute before this one began. Parked jobs are counted by lane.
-- KEYS  1 prefix
-- ARGV  1 most jobs of the queue to look at   2 number of the last minutes to read, this one included   3 (perhaps) 1: of those
--       that came lately, only those that came before this minute began
-- Returns {now, when the minute before this one began, 1 when all that waits was counted, else 0;
--   {type, how many wait, how many of them came since that minute began, since when the oldest one looked at waits} ...;
--   {type, counters} ...;   for each minute, this one first: {type, counters} ...}.
--   Counters are JSON, name -> n. Among those for ever, `since` is the time of the first count. How many: text, not always whole.
local LANES_MOST = 200
local most, now = tonumber(ARGV[1]), now_ms()
local since = (math.floor(now / 60000) - 1) * 60000
local upto = ARGV[3] and since + 60000 or now + 1
local first_seq = tonumber(call('HGET', key('meta'), 'seq') or 0)
for _, at in ipairs({ now, since }) do first_seq = first_seq - (call('HGET', minute_key(at), 'submitted') or 0) end

local rows, names, exact = {}, {}, true
local function row_of(job_type)
  if not rows[job_type] then
    rows[job_type], names[#names + 1] = { n = 0, young = 0, oldest = now }, job_type
  end
  return rows[job_type]
end

-- The parts of an index: for each priority that occurs, those submitted before `since`, then those after it. Each {number of jobs,
-- of how many places before it, 1 for the younger}.
local function strata(index)
  local parts, at, from = {}, 0, '-inf'
  for _ = 1, 10 do
    local first = call('ZRANGEBYSCORE', index, from, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
    if not first[1] then break end
    local priority = priority_of(first[2])
    local last = place_of(priority - 1, 0)
    for young, upto in ipairs({ place_of(priority, first_seq), '(' .. last }) do
      local n = math.max(0, call('ZCOUNT', index, '-inf', upto) - at)
      if n > 0 then parts[#parts + 1] = { n = n, at = at, young = young == 2 } end
      at = at + n
    end
    from = last
  end
  return parts
end

local function arrival_of(id)
  local f = call('HMGET', key('job:' .. id), 'type', 'due', 'created')
  return f[1] or DEFAULT_TYPE, math.min(now, tonumber(f[2] or f[3] or now) or now)
end

local sums, parts = { [true] = 0, [false] = 0 }, strata(key('queue'))
for _, part in ipairs(parts) do sums[part.young] = sums[part.young] + part.n end
local all = sums[true] + sums[false] <= most
for _, part in ipairs(parts) do
  local share = sums[not part.young] > 0 and most / 2 or most
  local looks = all and part.n or math.min(part.n, math.ceil(share * part.n / sums[part.young]))
  exact = exact and looks == part.n
  local ids = looks == part.n and call('ZRANGE', key('queue'), part.at, part.at + looks - 1)
  for i = 0, looks - 1 do -- the first one is the oldest
    local at = part.at + math.floor((i + (i == 0 and 0 or math.random())) * part.n / looks)
    local job_type, came = arrival_of(ids and ids[i + 1] or call('ZRANGE', key('queue'), at, at)[1] or '')
    local row, weight = row_of(job_type), part.n / looks
    row.n, row.oldest = row.n + weight, math.min(row.oldest, came)
    if came >= since and came < upto then row.young = row.young + weight end
  end
end

local lanes, parked = call('ZRANGE', key('lanes'), 0, LANES_MOST - 1), call('ZCARD', key('held'))
if parked > 0 then
  local seen = {}
  for _, paused in ipairs(call('SMEMBERS', key('pauses'))) do lanes[#lanes + 1] = paused end
  for _, name in ipairs(call('ZRANGE', key('shut'), 0, LANES_MOST - 1)) do -- of parts/limits.lua
    lanes[#lanes + 1] = string.match(name, '^type:(.*)$')
  end
  local under = call('HSCAN', key('under'), 0, 'COUNT', LANES_MOST)[2]
  for i = 1, #under, 2 do lanes[#lanes + 1] = under[i] end
  for i = 1, math.min(#lanes, LANES_MOST) do
    local index, job_type = key('lane:' .. lanes[i]), string.match(lanes[i], '^%S+')
    for _, part in ipairs(seen[index] and {} or strata(index)) do
      local row, _, came = row_of(job_type), arrival_of(call('ZRANGE', index, part.at, part.at)[1] or '')
      row.n, parked, row.oldest = row.n + part.n, parked - part.n, math.min(row.oldest, came)
      if part.young then row.young = row.young + part.n * (upto - since) / (now + 1 - since) end
    end
    seen[index] = true
  end
  if parked > 0 then
    exact = false
    row_of('other').n = row_of('other').n + parked
  end
end

local waiting, minutes = {}, {}
for i, name in ipairs(names) do
  local row = rows[name]
  waiting[i] = { name, string.format('%.3f', row.n), string.format('%.3f', row.young), digits(row.oldest) }
end
for i = 1, tonumber(ARGV[2]) do minutes[i] = call('HGETALL', by_type_key(now - (i - 1) * 60000)) end
return { digits(now), digits(since), exact and 1 or 0, waiting, call('HGETALL', key('by_type')), minutes }
