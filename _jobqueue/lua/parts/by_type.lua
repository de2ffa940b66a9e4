-- Counters of each job type: attempts done and failed, waiting and running times. Workers count for themselves and tell them with
-- their beats, so a job pays nothing. `by_type` has them for ever, by_type:<minute> for a minute, each as 'name n name n ...';
-- `counted` says when a type was last counted.

local function by_type_key(now) return key('by_type:' .. digits(math.floor(now / 60000))) end

-- Adds counters. `added`: type, 'name n name n ...', type ... A queue keeps 200 types; further ones stand together as `other`.
local function count_by_type(added, now)
  local MOST, KEPT_S, MINUTE_KEPT_S = 200, 172800, 900

  local function plus(old, more)
    local sums, names = {}, {}
    for name, n in string.gmatch(old .. ' ' .. more, '(%S+) (%S+)') do
      if not sums[name] then names[#names + 1] = name end
      sums[name] = (sums[name] or 0) + n
    end
    for i, name in ipairs(names) do names[i] = name .. ' ' .. digits(sums[name]) end
    return table.concat(names, ' ')
  end

  if #added == 0 then return end
  local room, texts = MOST - call('HLEN', key('by_type')), {}
  for i = 1, #added, 2 do
    local name = added[i]
    if not texts[name] and call('HEXISTS', key('by_type'), name) == 0 then
      room = room - 1
      if room < 1 then name = 'other' end
    end
    texts[name] = plus(texts[name] or '', added[i + 1])
  end
  local ever, minute, beats, minute_at, now_text = {}, {}, {}, by_type_key(now), digits(now)
  for name, text in pairs(texts) do
    ever[#ever + 1], ever[#ever + 2] = name, plus(call('HGET', key('by_type'), name) or 'since ' .. now_text, text)
    minute[#minute + 1], minute[#minute + 2] = name, plus(call('HGET', minute_at, name) or '', text)
    beats[#beats + 1], beats[#beats + 2] = now_text, name
  end
  call('HSET', key('by_type'), unpack(ever))
  call('HSET', minute_at, unpack(minute))
  call('ZADD', key('counted'), unpack(beats))
  call('EXPIRE', key('by_type'), KEPT_S) -- programs of another release drop no type
  call('EXPIRE', key('counted'), KEPT_S)
  call('EXPIRE', minute_at, MINUTE_KEPT_S)
end
