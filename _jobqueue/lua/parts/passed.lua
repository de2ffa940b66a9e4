-- What a claim says to fairness.

-- Notes which rounds a claim has come to, see fair.lua. `rows`: what it answers, the jobs in the order of their places. It is
-- called while keys take turns, and uses no local of the file.
local function pass_rounds(rows, priority_of)
  local call, seen, first = redis.call, {}, nil
  local function place_at(at) return call('HGET', KEYS[1] .. 'job:' .. rows[at][1], 'score') or '0' end
  for at = #rows, 1, -1 do -- the last one of each priority is the greatest
    local place = place_at(at)
    local priority = priority_of(place)
    if not seen[priority] then
      local round = call('HGET', KEYS[1] .. 'rounds', priority)
      if round and tonumber(place) > tonumber(round) then call('HSET', KEYS[1] .. 'rounds', priority, place) end
      seen[priority] = true
    end
    first = first or priority_of(place_at(1))
    if priority == first then break end
  end
end
