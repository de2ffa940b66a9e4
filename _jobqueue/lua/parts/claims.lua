-- seldom
-- What one claim sees of the side lanes, and what it changes there. Nothing is written before `write`.

-- Returns nil for a kit that is not there any more: its worker was frozen for days, and nobody knows what it may run.
local function lanes_for(kit)
  local LOOK = 8 -- lanes that are looked at first: mostly the claimer knows one of their types
  local kit_key = key('kit:' .. kit)
  if kit ~= '' and call('EXISTS', kit_key) == 0 then return nil end
  local lanes, parked, taken, passed, heads, horizon = {}, {}, {}, {}, {}, -math.huge

  -- Learns of more lanes that the claimer may take from: those of the first LOOK, then all. `heads`: type -> score of the first
  -- job that this claim has not passed, or false; lanes whose first score is above `horizon` may be missing.
  local function look()
    if horizon > -math.huge then
      horizon = math.huge
      local mine = call('ZINTER', 2, key('lanes'), kit_key, 'WEIGHTS', 1, 0, 'WITHSCORES')
      for i = 1, #mine, 2 do
        if heads[mine[i]] == nil then heads[mine[i]] = tonumber(mine[i + 1]) end
      end
      return
    end
    local first, types = call('ZRANGE', key('lanes'), 0, LOOK - 1, 'WITHSCORES'), {}
    horizon = #first == 2 * LOOK and tonumber(first[#first]) or math.huge
    for i = 1, #first, 2 do types[#types + 1] = first[i] end
    for i, known in ipairs(#types > 0 and call('ZMSCORE', kit_key, unpack(types)) or {}) do
      if known then heads[types[i]] = tonumber(first[2 * i]) end
    end
  end

  -- The lane with the best job, and its score; math.huge when there is none.
  function lanes.best()
    while true do
      local best, least = nil, math.huge
      for job_type, score in pairs(heads) do
        if score and score < least then best, least = job_type, score end
      end
      if least <= horizon then return best, least end
      look()
    end
  end

  -- The id of that lane's first job, and passes it. Nil when there is none: then `lanes` lied.
  function lanes.pass(job_type)
    local at = passed[job_type] or 0
    local rows = call('ZRANGE', key('lane:' .. job_type), at, at + 1, 'WITHSCORES')
    passed[job_type], heads[job_type] = at + 1, tonumber(rows[4]) or false
    return rows[1]
  end

  -- The job leaves its lane.
  function lanes.take(job_type, id)
    taken[job_type] = taken[job_type] or {}
    table.insert(taken[job_type], id)
  end

  -- The job leaves the queue for its lane.
  function lanes.park(job_type, id, score)
    local lane = parked[job_type] or {}
    lane[#lane + 1], lane[#lane + 2] = score, id
    parked[job_type] = lane
  end

  function lanes.write()
    for job_type, ids in pairs(taken) do
      call('ZREM', key('held'), unpack(ids))
      call('ZREM', key('lane:' .. job_type), unpack(ids))
    end
    for job_type, lane in pairs(parked) do
      call('ZADD', key('held'), unpack(lane))
      call('ZADD', key('lane:' .. job_type), unpack(lane))
      refresh_lane(job_type, true)
    end
    for job_type in pairs(passed) do refresh_lane(job_type, true) end
    if next(parked) then call('HSET', key('meta'), 'gates', '1') end
  end

  return lanes
end
