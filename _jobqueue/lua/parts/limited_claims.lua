-- seldom
-- The claim of a queue that uses limits. It stands beside the other so that queues without limits pay nothing for it.

-- Claims the best jobs that may run now. `claim`: now, want, kit, lease_ms, defaults, late, MOVES, SPARE and ENOUGH_BYTES as in
-- exchange.lua; aside: false when nothing is parked, shut or paused. Returns jobs, ids, leases and too_late as the other claim
-- gathers them, and whether it stopped at its bound; nil when nobody knows the kit. A job under a defined limit is the last: a
-- permit is a handler that runs.
local function claim_under_limits(room, claim)
  local LOOK = 8
  local now, want, kit = claim.now, claim.want, claim.kit
  local jobs, ids, leases, gone, too_late = {}, {}, {}, {}, {}
  local moves, more, bytes = 0, false, 0
  local timeouts = {} -- type -> ms; false: not for this worker, or not now
  local shut = {} -- name -> whether this claim has found it shut
  local parked = {} -- what is met in the queue is written at the end, lane by lane: this claim takes none of it
  local waiting, from, at, step, all = {}, 0, 1, want + claim.SPARE, false
  local aside, aside_score, stale = nil, nil, claim.aside and kit ~= '' -- the best that waits aside; whether to look for it
  while true do
    if at > #waiting and not all then
      waiting = call('ZRANGE', key('queue'), from, from + step - 1, 'WITHSCORES')
      from, at, all = from + step, 1, #waiting < 2 * step
    end
    if stale or room.changed and kit ~= '' then -- the open type with the best job that waits aside, and that job's score
      aside, aside_score = nil, nil
      local heads, types = call('ZRANGE', key('lanes'), 0, LOOK - 1, 'WITHSCORES'), {}
      for i = 1, #heads, 2 do types[#types + 1] = heads[i] end
      for i, mine in ipairs(#types > 0 and call('ZMSCORE', key('kit:' .. kit), unpack(types)) or {}) do
        if mine and not aside then aside, aside_score = types[i], tonumber(heads[2 * i]) end
      end
      if not aside and #types == LOOK then
        local rest = call('ZINTER', 2, key('lanes'), key('kit:' .. kit), 'WEIGHTS', 1, 0, 'WITHSCORES')
        aside, aside_score = rest[1], tonumber(rest[2])
      end
    end
    stale, room.changed = false, false
    local id, score, first = waiting[at], tonumber(waiting[at + 1]), nil
    if aside and not (id and score < aside_score) then
      first = room.first_of(aside) or { false, false }
      id, score = first[1], aside_score
    end
    if not id and not first then break end

    local n = #ids
    local job = id and job_of(id, call('HGETALL', key('job:' .. id))) or {}
    local limits, queued, again = job.limits or false, job.status == 'queued', job.attempts and job.attempts ~= '0'
    local job_type = job.type or DEFAULT_TYPE
    if first then job_type = aside end
    again = again or job_type == 'jobqueue.webhook'
    local expired = claim.late and queued and (tonumber(call('ZSCORE', key('expires'), id)) or math.huge) <= now and unstarted(id)
    if expired then queued, too_late[#too_late + 1] = false, expired end
    local timeout_ms, names, closed = timeouts[job_type], nil, nil
    if queued and timeout_ms == nil then
      if claim.aside and call('SISMEMBER', key('pauses'), job_type) == 1 then
        timeout_ms = false
      elseif kit ~= '' then
        timeout_ms = tonumber(call('ZSCORE', key('kit:' .. kit), job_type)) or false
        if not timeout_ms and call('EXISTS', key('kit:' .. kit)) == 0 then return nil end
      else
        local _, of_type = policy_of({ type = job_type }, claim.defaults)
        timeout_ms = of_type
      end
      timeouts[job_type] = timeout_ms
    end
    timeout_ms = queued and timeout_ms
    if timeout_ms then
      names = room.names_of(job_type, limits)
      for i, name in ipairs(names) do
        if not shut[name] then
          local opens_at = room.shut_until(name, now, true, names)
          shut[name] = opens_at ~= nil
          if opens_at then room.shut(name, opens_at) end
        end
        if shut[name] then
          closed = i
          break
        end
      end
    end
    if timeout_ms and not closed then
      if again and n > 0 then break end
      jobs[n + 1], ids[n + 1] = job, id
      leases[2 * n + 1] = digits(lease_end(now, claim.lease_ms, tonumber(job.timeout_ms) or timeout_ms))
      leases[2 * n + 2] = id
      if first then room.unpark(id, job_type, first[2]) else gone[#gone + 1] = id end
      if job_type == 'jobqueue.webhook' then call('ZADD', key('deliveries'), 'XX', '-' .. digits(now), id) end
      bytes = bytes + #(job.payload or '') + #(job['payload.1'] or '')
      local under, rooms = room.take(id, names, now, job.also)
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
          local lane = job_type .. ' ' .. (limits or '') .. '\n' .. (name or '')
          local to = parked[lane] or { job_type, limits, name, jobs = {} }
          to.jobs[#to.jobs + 1], to.jobs[#to.jobs + 2] = waiting[at + 1], id
          parked[lane] = to
        end
      elseif not id then
        room.mend(job_type)
      elseif not queued then
        room.unpark(id, job_type, first[2])
      elseif name then
        if not first[2] then room.unpark(id, job_type, false) end -- it was parked before the queue had limits
        room.park({ digits(score), id }, job_type, limits, name)
      else
        room.refresh(job_type)
      end
    end
    if not first then at = at + 2 end
  end
  if #gone > 0 then call('ZREM', key('queue'), unpack(gone)) end
  for _, to in pairs(parked) do room.park(to.jobs, to[1], to[2], to[3]) end
  return { jobs = jobs, ids = ids, leases = leases, more = more, too_late = too_late }
end
