-- needs: prelude lanes limits
-- Goes on with what limits have left undone, a bounded step each time. Counts what runs under a new definition. Opens what time has
-- opened. Looks at names in turn, by the alphabet, for one that is open and still shut out, and one that nobody uses any more.
-- KEYS  1 prefix
-- ARGV  1 the name after which to look, '' for the first; '-': where the last tick has stopped   2 most names to look at, or jobs
--       to count
-- Returns {the name after which to go on, '' at the end, 1 when it opened something, 1 while something is still counted, else 2 when
-- there are so many names, some of them not used any more, that it should go on at once}.
local SAMPLE, ANY_OF, NAMES_MOST = 20, 250, 10000
local STARTS_KEPT_MS = 60000 -- after their window: the clock may go back by so much
local meta = call('HMGET', key('meta'), 'gates', 'limits_at')
if meta[1] ~= '2' then return { '', 0, 0 } end
local room, now, most = limits_room(refresh_lane), now_ms(), tonumber(ARGV[2])
local from, opened = ARGV[1] == '-' and meta[2] or ARGV[1], 0
if from == '-' or not from then from = '' end

call('HDEL', key('meta'), 'limits_at') -- a first write that a full Redis allows
local due = call('ZRANGEBYSCORE', key('shut'), '-inf', digits(now), 'LIMIT', 0, ANY_OF)
room.open_all(due)
if due[1] then opened = 1 end

local counting = call('HSCAN', key('counting'), 0, 'COUNT', 1)[2]
if counting[1] then
  local name, walk = counting[1], call('ZSCAN', key('leases'), counting[2], 'COUNT', most)
  for i = 1, #walk[2], 2 do room.count_in(walk[2][i], name) end
  if walk[1] ~= '0' then
    call('HSET', key('counting'), name, walk[1])
  else
    local index = string.sub(name, -1) == '*' and 'patterns' or 'limits'
    local text = call('HGET', key(index), name)
    call('HDEL', key('counting'), name)
    if text then call('HSET', key(index), name, string.sub(text, 1, -2) .. '-') end
    if room.open(name) then opened = 1 end
    room, from = limits_room(refresh_lane), '' -- what it has read is old; a pattern's names are looked at from the first on
  end
end

local dropped = 0
local names = call('ZRANGEBYLEX', key('limited'), from == '' and '-' or '(' .. from, '+', 'LIMIT', 0, most)
for _, name in ipairs(names) do
  local permits = key('permits:' .. name)
  for _, id in ipairs(call('SRANDMEMBER', permits, SAMPLE)) do -- a program of the release before returns none
    if not call('ZSCORE', key('leases'), id) then call('SREM', permits, id) end
  end
  if call('ZSCORE', key('shut'), name) then
    local at = room:shut_until(name, now, true)
    if not at then opened = room.open(name) and 1 or opened elseif at < math.huge then room.shut(name, at) end
  end
  local limit = room.definition(name)
  local last = call('LINDEX', key('starts:' .. name), 0)
  if last and (not limit or limit.starts == 0 or last + limit.per_ms + STARTS_KEPT_MS < now) then call('DEL', key('starts:' .. name)) end
  local used = call('EXISTS', permits, key('waits:' .. name), key('starts:' .. name)) > 0 or call('ZSCORE', key('shut'), name)
  if not used and not (limit and limit.by == name) then dropped = dropped + call('ZREM', key('limited'), name) end
end
local next_one = #names == most and names[#names] or ''
if ARGV[1] == '-' and next_one ~= '' then call('HSET', key('meta'), 'limits_at', next_one) end
if call('EXISTS', key('limits'), key('patterns'), key('under'), key('limited')) == 0 then
  call('HSET', key('meta'), 'gates', '1') -- the next tick looks whether anything is parked
end
ring()
local too_many = dropped > 0 and call('ZCARD', key('limited')) > NAMES_MOST
return { next_one, opened, call('EXISTS', key('counting')) == 1 and 1 or too_many and 2 or 0 }
