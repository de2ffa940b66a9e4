-- seldom limits
-- The claim of a queue that uses limits. It stands beside the other so that queues without limits pay nothing for it.

-- Claims the best jobs that may run now. `args`: of exchange.lua; `aside`: false when nothing is parked, shut or paused; `late`: a
-- job whose time for a start is over, where there is one. Returns jobs, ids and leases as the other claim gathers them, whether it
-- stopped at its bound, and jobs that are too late, or nil; nil when nobody knows the kit. A job under a defined limit is the last:
-- a permit is a handler that runs.
local function claim_under_limits(room, args, now, held_before, late)
  local LOOK, LAST, STEP = 8, '7', 50
  local MOVES, SPARE, ENOUGH_BYTES = 250, 8, 4194304 -- as in exchange.lua
  local want, kit = tonumber(args[4]), args[10]
  local jobs, ids, leases, gone, too_late = {}, {}, {}, {}, nil
  local moves, more, bytes = 0, false, 0
  local timeouts = {} -- type -> ms; false: not for this worker, or not now
  local shut = nil -- name -> true when this claim has found it shut
  local kinds, parked, lanes = nil, nil, nil -- what is met in the queue is written at the end: this claim takes none of it
  local ahead = tonumber(args[11]) < 2 and 1 or want -- who has just run one job gets mostly one again
  local waiting, base, from, at, step, all, width = {}, 0, 0, 1, ahead + SPARE, false, 1 -- width 2: with scores
  local aside, aside_score, stale = nil, nil, held_before and kit ~= '' -- the best that waits aside; whether to look for it
  if held_before then room.puts_off = true end
  if room.freed and (not stale or room.freed[2]) then room.open_freed() end
  while true do
    local looks = true
    while looks do
      looks = false
      if stale or held_before and room.changed and kit ~= '' then -- the open type with the best job aside, and that job's score
        if room.late then room.catch_up() end
        room.puts_off = true
        aside, aside_score = nil, nil
        local heads, types = call('ZRANGE', KEYS[1] .. 'lanes', '0', LAST, 'WITHSCORES'), {}
        for i = 1, #heads, 2 do types[#types + 1] = heads[i] end
        for i, mine in ipairs(#types > 0 and call('ZMSCORE', KEYS[1] .. 'kit:' .. kit, unpack(types)) or {}) do
          if mine and not aside then aside, aside_score, timeouts[types[i]] = types[i], tonumber(heads[2 * i]), tonumber(mine) end
        end
        if not aside and #types == LOOK then
          local rest = call('ZINTER', 2, KEYS[1] .. 'lanes', KEYS[1] .. 'kit:' .. kit, 'WEIGHTS', 1, 0, 'WITHSCORES')
          aside, aside_score = rest[1], tonumber(rest[2])
        end
        stale, room.changed, room.open_type = false, false, aside or false
        if (aside or room.freed) and width == 1 then -- from here on with scores, which take long to write
          waiting, from, at, all, width, step = {}, base + at - 1, 1, false, 2, want + 1
        end
      end
      if at > #waiting and not all then
        local first, last = from == 0 and '0' or from, step == 9 and from == 0 and '8' or from + step - 1 -- of one job
        local queue = KEYS[1] .. 'queue'
        waiting = width == 2 and call('ZRANGE', queue, first, last, 'WITHSCORES') or call('ZRANGE', queue, first, last)
        base, from, at, all, step = from, from + step, 1, #waiting < width * step, STEP
      end
      local best = room.freed and math.min(tonumber(waiting[at + 1]) or math.huge, aside_score or math.huge)
      if room.freed and (moves > 0 or best >= room.freed_at) then -- the next that waits for what this call has freed may be the best
        local job, id, lease = nil, nil, nil
        if not late and moves == 0 and not ids[1] then job, id, lease = hand_over(room, args, now, best) end
        if job then
          if room.late then room.catch_up() else room.puts_off = false end
          return { job }, { id }, { lease, id }
        end
        if moves > 0 or best >= room.freed_at then
          stale, looks = true, true
          room.open_freed()
        end
      end
    end
    local id, first = waiting[at], nil
    if aside and not (id and tonumber(waiting[at + 1]) < aside_score) then
      first = room.first_of(aside, aside_score) or { false, false }
      id = first[1]
    end
    if not id and not first then break end

    local n, whole, job = #ids, moves == 0 or first, nil -- one of many that are in the way is read in parts
    if id and whole then
      job = job_of(id, call('HGETALL', KEYS[1] .. 'job:' .. id))
    elseif id then
      local f = call('HMGET', KEYS[1] .. 'job:' .. id, 'status', 'type', 'limits')
      job = { status = f[1], type = f[2] or nil, limits = f[3] or nil }
    end
    job = job or {}
    local limits, queued, job_type = job.limits or false, job.status == 'queued', job.type or DEFAULT_TYPE
    if first then job_type = aside end
    local expired = late and queued and (tonumber(call('ZSCORE', KEYS[1] .. 'expires', id)) or math.huge) <= now and unstarted(id)
    if expired then queued = false end
    local timeout_ms, names, closed = timeouts[job_type], nil, nil
    local lane = limits and job_type .. ' ' .. limits or job_type
    local kind = queued and not first and lanes and kinds[lane] -- none of its kind may run
    if queued and timeout_ms == nil then
      if held_before and not first and call('SISMEMBER', KEYS[1] .. 'pauses', job_type) == 1 then
        timeout_ms = false
      elseif kit ~= '' then
        timeout_ms = tonumber(call('ZSCORE', KEYS[1] .. 'kit:' .. kit, job_type)) or false
        if not timeout_ms and call('EXISTS', KEYS[1] .. 'kit:' .. kit) == 0 then
          if held_before then room.catch_up() end
          return nil
        end
      else
        local _, of_type = policy_of({ type = job_type }, { args[6], args[7], args[8] })
        timeout_ms = of_type
      end
      timeouts[job_type] = timeout_ms
    end
    timeout_ms = queued and timeout_ms
    if timeout_ms and not kind then
      names = room.names_of(job_type, limits)
      for i = 1, #names do
        local name = names[i]
        local limit, is_shut = room.known[name], shut and shut[name]
        if not is_shut and limit ~= false and not (limit and limit.is_open) then
          is_shut = not whole and (tonumber(call('ZSCORE', KEYS[1] .. 'shut', name) or 0) or 0) > now
          if not is_shut then
            if limit == nil then
              room:look_up(names)
              limit = room.known[name]
            end
            local opens_at = limit and room:shut_until(name, now, true)
            if opens_at then
              room.shut(name, opens_at)
              is_shut = true
            elseif limit then
              limit.is_open = true -- a job under it is the last of a claim
            end
          end
          if is_shut then
            shut = shut or {}
            shut[name] = true
          end
        end
        if is_shut then
          closed = i
          break
        end
      end
    end
    if timeout_ms and not closed and not kind then
      if not whole then job = job_of(id, call('HGETALL', KEYS[1] .. 'job:' .. id)) end
      local again = job.attempts and job.attempts ~= '0' or job_type == 'jobqueue.webhook'
      if again and n > 0 then break end
      jobs[n + 1], ids[n + 1] = job, id
      leases[2 * n + 1] = digits(lease_end(now, tonumber(args[5]), tonumber(job.timeout_ms) or timeout_ms))
      leases[2 * n + 2] = id
      if first then room.unpark(id, job_type, first[2], first[3]) else gone[#gone + 1] = id end
      if job_type == 'jobqueue.webhook' then call('ZADD', KEYS[1] .. 'deliveries', 'XX', '-' .. digits(now), id) end
      bytes = bytes + #(job.payload or '') + #(job['payload.1'] or '')
      local under, rooms = room:take(id, names, now, job.also, held_before)
      if rooms then call('HSET', KEYS[1] .. 'job:' .. id, 'also', rooms) end
      if under or again or n + 1 == want or bytes > ENOUGH_BYTES then break end
    elseif moves >= MOVES then
      more = true
      break
    else
      moves = moves + 1 + (job.errors or 0) -- each of these was read too
      local name = closed and closed > 1 and names[closed] or nil
      if expired then
        too_late = too_late or {}
        too_late[#too_late + 1] = expired
      end
      if not first then
        gone[#gone + 1] = id
        if queued then
          local score = width == 2 and waiting[at + 1] or call('ZSCORE', KEYS[1] .. 'queue', id)
          if kind then
            kind[#kind + 1], kind[#kind + 2] = score, id
          else
            if not lanes then kinds, parked, lanes = {}, {}, {} end
            kind = { lane, job_type, limits, name or false, score, id }
            kinds[lane], lanes[#lanes + 1] = kind, kind
          end
          parked[#parked + 1], parked[#parked + 2] = score, id
          if width == 1 then waiting, from, at, all, width = {}, base + at, 0, false, 2 end -- the rest with scores
        end
      elseif not id then
        room.mend(job_type)
      elseif not queued then
        room.unpark(id, job_type, first[2])
      elseif name then
        if not first[2] then room.unpark(id, job_type, false) end -- it was parked before the queue had limits
        room.park({ digits(aside_score), id }, job_type, limits, name)
      else
        room.refresh(job_type)
      end
    end
    if not first then at = at + width end
  end
  if lanes then
    room.puts_off = true
    room.park_all(parked, lanes)
  end
  if gone[1] then call('ZREM', KEYS[1] .. 'queue', unpack(gone)) end
  if room.late then room.catch_up() else room.puts_off = false end
  return jobs, ids, leases, more, too_late
end
