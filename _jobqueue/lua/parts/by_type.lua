-- Counters of each job type: attempts done and failed, waiting and running times. Workers count for themselves and tell them with
-- their beats, so a job pays nothing. `by_type` has them for ever, by_type:<minute> for a minute, each type's as JSON, name -> n;
-- `counted` says when a type was last counted. A minute is kept for as long as a chart of an hour needs it; see parts/sums.lua.

local function by_type_key(now) return key('by_type:' .. digits(math.floor(now / 60000))) end

-- Adds counters. `added`: type, JSON, type ... A queue keeps 200 types; further ones stand together as `other`. It is called last,
-- by pcall: what a hand has spoiled of the figures must stop no beat and no reaper.
local function count_by_type(added, now)
  local MOST, OTHER, KEPT_S, MINUTE_KEPT_S = 200, 'other', 172800, 4500
  if #added == 0 then return end

  -- Adds counters to what a hash has of some types. Returns what to write.
  local function sums(hash, names, more, new)
    local pairs_, old = {}, call('HMGET', hash, unpack(names))
    for i, name in ipairs(names) do
      local counts = old[i] and cjson.decode(old[i]) or { since = new }
      for counter, n in pairs(more[name]) do counts[counter] = (counts[counter] or 0) + n end
      pairs_[2 * i - 1], pairs_[2 * i] = name, cjson.encode(counts)
    end
    return pairs_
  end

  local room, names, more, beats = MOST - call('HLEN', key('by_type')), {}, {}, {}
  for i = 1, #added, 2 do
    local name = added[i]
    if not more[name] and call('HEXISTS', key('by_type'), name) == 0 then
      room = room - 1
      if room < 1 then name = OTHER end
    end
    if not more[name] then
      more[name], names[#names + 1] = {}, name
      beats[#beats + 1], beats[#beats + 2] = digits(now), name
    end
    for counter, n in pairs(cjson.decode(added[i + 1])) do more[name][counter] = (more[name][counter] or 0) + n end
  end
  local minute = by_type_key(now)
  call('HSET', key('by_type'), unpack(sums(key('by_type'), names, more, now)))
  call('HSET', minute, unpack(sums(minute, names, more)))
  call('ZADD', key('counted'), unpack(beats))
  call('EXPIRE', key('by_type'), KEPT_S) -- programs of another release drop no type
  call('EXPIRE', key('counted'), KEPT_S)
  call('EXPIRE', minute, MINUTE_KEPT_S)
end
