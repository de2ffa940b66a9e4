-- seldom
-- What a claim says to fairness.

-- Notes which rounds a claim has come to, see fair.lua. `jobs`: those that it gives, in the order of their places. It is called
-- while keys take turns.
local function pass_rounds(jobs)
  local seen, first = {}, priority_of(jobs[1].score or 0)
  for at = #jobs, 1, -1 do -- the last one of each priority is the greatest
    local place = jobs[at].score or '0'
    local priority = priority_of(place)
    if not seen[priority] then
      local round = call('HGET', key('rounds'), priority)
      if round and tonumber(place) > tonumber(round) then call('HSET', key('rounds'), priority, place) end
      seen[priority] = true
    end
    if priority == first then break end
  end
end
