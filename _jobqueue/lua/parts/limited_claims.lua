-- seldom
-- The claim of a queue that uses limits. It stands beside the other so that queues without limits pay nothing for it.

-- Claims the best jobs that may run now. `claim`: now, want, kit, lease_ms, defaults, late, MOVES, SPARE and ENOUGH_BYTES as in
-- exchange.lua; aside: false when nothing is parked, shut or paused. Returns jobs, ids, leases and too_late as the other claim
-- gathers them, and whether it stopped at its bound; nil when nobody knows the kit. A job under a defined limit is the last: a
-- permit is a handler that runs.
local function claim_under_limits(room, claim)
  local LOOK, STEP = 8, 50
  local now, want, kit, held_before = claim.now, claim.want, claim.kit, claim.aside
  local jobs, ids, leases, gone, too_late = {}, {}, {}, {}, {}
  local moves, more, bytes = 0, false, 0
  local timeouts = {} -- type -> ms; false: not for this worker, or not now
  local shut = {} -- name -> whether this claim has found it shut
  local kinds, parked, lanes = {}, {}, {} -- what is met in the queue is written at the end: this claim takes none of it
  local waiting, base, from, at, step, all = {}, 0, 0, 1, want + claim.SPARE, false
  local width = held_before and 2 or 1 -- scores are asked for where something waits aside, or is to
  local aside, aside_score, stale = nil, nil, held_before and kit ~= '' -- the best that waits aside; whether to look for it
  if held_before then room:put_off() end
  while true do
    if at > #waiting and not all then
      local to = from + step - 1
      waiting = width == 2 and call('ZRANGE', key('queue'), from, to, 'WITHSCORES') or call('ZRANGE', key('queue'), from, to)
      base, from, at, all, step = from, from + step, 1, #waiting < width * step, STEP
    end
    if stale or held_before and room.changed and kit ~= '' then -- the open type with the best job aside, and that job's score
      room:catch_up()
      room:put_off()
      aside, aside_score = nil, nil
      local heads, types = call('ZRANGE', key('lanes'), 0, LOOK - 1, 'WITHSCORES'), {}
      for i = 1, #heads, 2 do types[#types + 1] = heads[i] end
      for i, mine in ipairs(#types > 0 and call('ZMSCORE', key('kit:' .. kit), unpack(types)) or {}) do
        if mine and not aside then aside, aside_score, timeouts[types[i]] = types[i], tonumber(heads[2 * i]), tonumber(mine) end
      end
      if not aside and #types == LOOK then
        local rest = call('ZINTER', 2, key('lanes'), key('kit:' .. kit), 'WEIGHTS', 1, 0, 'WITHSCORES')
        aside, aside_score = rest[1], tonumber(rest[2])
      end
      stale, room.changed, room.open_type = false, false, aside or false
    end
    local id, first = waiting[at], nil
    if aside and not (id and tonumber(waiting[at + 1]) < aside_score) then
      first = room.first_of(aside, aside_score) or { false, false }
      id = first[1]
    end
    if not id and not first then break end

    local n, whole, job = #ids, moves == 0 or first, {} -- one of many that are in the way is read in parts
    if id and whole then
      job = job_of(id, call('HGETALL', key('job:' .. id))) or {}
    elseif id then
      local f = call('HMGET', key('job:' .. id), 'status', 'type', 'limits')
      job = { status = f[1], type = f[2] or nil, limits = f[3] or nil }
    end
    local limits, queued, job_type = job.limits or false, job.status == 'queued', job.type or DEFAULT_TYPE
    if first then job_type = aside end
    local expired = claim.late and queued and (tonumber(call('ZSCORE', key('expires'), id)) or math.huge) <= now and unstarted(id)
    if expired then queued, too_late[#too_late + 1] = false, expired end
    local timeout_ms, names, closed = timeouts[job_type], nil, nil
    local kind = queued and not first and lanes[1] and kinds[job_type .. ' ' .. (limits or '')] -- none of its kind may run
    if queued and timeout_ms == nil then
      if held_before and not first and call('SISMEMBER', key('pauses'), job_type) == 1 then
        timeout_ms = false
      elseif kit ~= '' then
        timeout_ms = tonumber(call('ZSCORE', key('kit:' .. kit), job_type)) or false
        if not timeout_ms and call('EXISTS', key('kit:' .. kit)) == 0 then
          if held_before then room:catch_up() end
          return nil
        end
      else
        local _, of_type = policy_of({ type = job_type }, claim.defaults)
        timeout_ms = of_type
      end
      timeouts[job_type] = timeout_ms
    end
    timeout_ms = queued and timeout_ms
    if timeout_ms and not kind then
      names = room.names_of(job_type, limits)
      local known = not whole and call('ZMSCORE', key('shut'), unpack(names)) or {} -- when they open
      for i, name in ipairs(names) do
        if not shut[name] then
          shut[name] = (tonumber(known[i] or 0) or 0) > now
          local opens_at = not shut[name] and room:shut_until(name, now, true, names)
          if opens_at then
            room.shut(name, opens_at)
            shut[name] = true
          end
        end
        if shut[name] then
          closed = i
          break
        end
      end
    end
    if timeout_ms and not closed and not kind then
      if not whole then job = job_of(id, call('HGETALL', key('job:' .. id))) end
      local again = job.attempts and job.attempts ~= '0' or job_type == 'jobqueue.webhook'
      if again and n > 0 then break end
      jobs[n + 1], ids[n + 1] = job, id
      leases[2 * n + 1] = digits(lease_end(now, claim.lease_ms, tonumber(job.timeout_ms) or timeout_ms))
      leases[2 * n + 2] = id
      if first then room.unpark(id, job_type, first[2], first[3]) else gone[#gone + 1] = id end
      if job_type == 'jobqueue.webhook' then call('ZADD', key('deliveries'), 'XX', '-' .. digits(now), id) end
      bytes = bytes + #(job.payload or '') + #(job['payload.1'] or '')
      local under, rooms = room:take(id, names, now, job.also, held_before)
      if rooms then call('HSET', key('job:' .. id), 'also', rooms) end
      if under or again or n + 1 == want or bytes > claim.ENOUGH_BYTES then break end
    elseif moves >= claim.MOVES then
      more = true
      if expired then table.remove(too_late) end
      break
    else
      moves = moves + 1 + (job.errors or 0) -- each of these was read too
      local name = closed and closed > 1 and names[closed] or nil
      if not first then
        gone[#gone + 1] = id
        if queued then
          local score = width == 2 and waiting[at + 1] or call('ZSCORE', key('queue'), id)
          if not kind then
            kind = { job_type, limits, name or false }
            kinds[job_type .. ' ' .. (limits or '')], lanes[#lanes + 1] = kind, kind
          end
          kind[#kind + 1], kind[#kind + 2] = score, id
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
  if lanes[1] then
    room:put_off()
    room.park_all(parked, lanes)
  end
  if #gone > 0 then call('ZREM', key('queue'), unpack(gone)) end
  if lanes[1] or held_before then room:catch_up() end
  return { jobs = jobs, ids = ids, leases = leases, more = more, too_late = too_late }
end
