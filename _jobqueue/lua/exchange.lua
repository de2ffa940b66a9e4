-- needs: prelude expiry jobs tokens places policy lanes limits leases kinds fair tags webhooks edges ends failures claims hand_over limited_claims claim_one passed marks
-- A slot's one round trip: settles attempts that the slot holds, then claims the best queued jobs of the types that it handles,
-- in strict priority and FIFO order. Jobs of other types, and of paused ones, it parks. A call sent twice settles once and gives
-- the same jobs again: (slot, seq) is the token of the claim.
-- KEYS  1 prefix
-- ARGV  1 slot   2 seq of this claim, 0: settle only   3 highest seq whose answer the slot has seen   4 most jobs to claim
--       5 lease in ms   6-8 default max_attempts, timeout_ms, backoff_ms   9 0, or for a claim that was sent before its time:
--       the greatest age in ms of its worker's last beat; a claim of an older one gets nothing
--       10 its worker's kit, the name of the set of types that it handles; '' for one that takes any type, from `queue` alone
--       11 number of attempts to settle (its own, or those of a slot that it replaces), then for each: id, token, outcome,
--       delay in ms, kind, message, number of field-value pairs to store, field, value ...
--       outcome: done | failed | cancelled | released (the attempt is not counted, the job keeps its place) | snoozed (it is not
--       counted either, and follows after the delay);
--       delay, kind, message: of a failed one, see parts/failures.lua
-- Returns {settled, 1 when it stopped at its bound and there may be more for it, else 0, and 2 more when children are still to be
-- told of an end (tell.lua), then for each claimed job how many values follow for it: id, type, attempts before this one,
-- timeout_ms or '', ms it has waited or '' if it ran before (of a job that belongs to a trace, then a blank and that), payload,
-- further pieces of it ...}.
-- settled: a text of a 1, or a 0 (refused: the token is no longer the job's), for each attempt. The answer is one flat list
-- because Redis takes as long for a table as for five values.
-- Returns {} for a seq below the slot's last: the call is a copy that was delayed on its way.
local slot, seq, defaults = ARGV[1], tonumber(ARGV[2]), { ARGV[6], ARGV[7], ARGV[8] }
local last = tonumber(call('HGET', key('slots'), slot) or 0)
if seq > 0 and seq < last then return {} end
local now = now_ms()
local now_text, held_key, room = digits(now), key('processing:' .. slot), nil -- room: parts/limits.lua, where it is needed

-- The four parts stand in the order in which they run. They are blocks, not functions: Redis would make these anew in every call,
-- and one that uses thirty names of the file takes as long to make as two commands.

-- 1. Settle. `settled`: a 1 or 0 for each attempt; `mine`: the jobs that this call has settled, id -> true; `requeued`: whether some
-- did not succeed, or let others start that have waited for a limit.
local settled, mine, requeued = {}, {}, false
do
  local TOKEN, OUTCOME, DELAY, KIND, MESSAGE, PAIRS, FIELDS = 1, 2, 3, 4, 5, 6, 7 -- from where an attempt starts in ARGV
  local jobs, unsuccessful, opened, at = {}, false, false, 12
  for i = 1, tonumber(ARGV[11]) do
    local id, outcome, job = ARGV[at], ARGV[at + OUTCOME], nil
    if outcome == 'done' then
      local f = call('HMGET', key('job:' .. id), 'status', 'token', 'also', 'tallied')
      job = { id = id, status = f[1], token = f[2], at = at }
      if f[3] then job.also = f[3] end
      if f[4] then job.tallied = f[4] end
    else
      job = job_of(id, call('HGETALL', key('job:' .. id))) or {}
      job.at = at
    end
    if job.token ~= ARGV[at + TOKEN] then
      settled[i] = 0
      if outcome ~= 'released' then tally('refused') end
    else
      settled[i] = 1 -- also what an earlier copy of this call settled
      if job.status == 'processing' and not mine[id] then
        if outcome == 'failed' then
          job.max_attempts, job.timeout_ms, job.backoff_ms, job.max_backoff_ms, job.jitter = policy_of(job, defaults, true)
        end
        mine[id], jobs[#jobs + 1] = true, job
      end
    end
    at = at + FIELDS + 2 * ARGV[at + PAIRS]
  end

  if #jobs > 0 then opened, room = left_processing(jobs, seq > 0 and slot, false, seq > 0) else call('LREM', held_key, 0, '') end -- a full Redis allows either
  for _, job in ipairs(jobs) do
    at = job.at
    local outcome, first, last_pair = ARGV[at + OUTCOME], at + FIELDS, at + FIELDS - 1 + 2 * ARGV[at + PAIRS]
    if outcome == 'done' then
      job.status = ended(job, outcome, now_text, unpack(ARGV, first, last_pair))
    else
      unsuccessful = true
      if outcome == 'failed' then
        job.failure = { delay = tonumber(ARGV[at + DELAY]), kind = ARGV[at + KIND], message = ARGV[at + MESSAGE] }
        job.failure.fields = { unpack(ARGV, first, last_pair) }
      elseif outcome == 'cancelled' then -- an attempt that leaves a record, as any other without success
        job.failure = { kind = 'cancelled', message = 'it was asked to stop, and did', cancelled = true }
        job.failure.fields = { unpack(ARGV, first, last_pair) }
      elseif outcome == 'snoozed' then
        job.snooze = { delay = tonumber(ARGV[at + DELAY]), fields = { unpack(ARGV, first, last_pair) } }
      end
    end
  end
  if unsuccessful then retry_or_bury(jobs, now) end
  requeued = unsuccessful or opened
end
settled = table.concat(settled)
if seq == 0 then
  local told = write_ends(now, mine)
  local meta = call('HMGET', key('meta'), 'bells', 'gates', 'rev')
  if meta[3] then mark(meta[3], now, mine) end
  ring(meta)
  return { settled, told and told.left and 2 or 0 }
end
local others = {} -- ids in the slot's list that it does not mention
for _, id in ipairs(call('LRANGE', held_key, 0, -1)) do
  if id ~= BELL_TOKEN and not mine[id] then others[#others + 1] = id end
end

-- Adds to `rows` what a claim answers for a job.
local function add_row(rows, job, started)
  local at, n, waited = #rows + 1, 6, ''
  if not job.attempts or job.attempts == '0' then
    waited = digits(math.max(0, started - (job.due or job.created or started)))
  end
  if job.trace then waited = waited .. ' ' .. job.trace end
  rows[at], rows[at + 1], rows[at + 2], rows[at + 3] = n, job.id, job.type or '', job.attempts or '0'
  rows[at + 4], rows[at + 5], rows[at + 6] = job.timeout_ms or '', waited, job.payload or 'null'
  local piece = job['payload.1']
  while piece do
    n = n + 1
    rows[at], rows[at + n], piece = n, piece, job['payload.' .. n - 5]
  end
end

-- 2. The same claim again: the same jobs, attempts untouched.
if seq == last then
  local rows, token = { settled, call('EXISTS', key('queue')) }, make_token(slot, seq)
  for _, id in ipairs(others) do
    local job = job_of(id, call('HGETALL', key('job:' .. id)))
    if job and job.status == 'processing' and job.token == token then
      job.attempts = digits(job.attempts - 1)
      add_row(rows, job, job.started)
    end
  end
  write_ends(now, mine)
  local rev = next(mine) and call('HGET', key('meta'), 'rev')
  if rev then mark(rev, now, mine) end
  if room and room.freed then
    room.open_freed()
    ring()
  end
  return rows
end

-- 3. Orphans, which the slot holds and does not mention: those of an answer that it never saw go back unharmed; any other is a
-- crash.
local orphans = {}
for _, id in ipairs(others) do
  local job = job_of(id, call('HGETALL', key('job:' .. id)))
  if job and job.status == 'processing' and job.token and slot_of(job.token) == slot then
    orphans[#orphans + 1] = job
    if tonumber(seq_of(job.token) or 0) <= tonumber(ARGV[3]) then
      job.max_attempts, job.timeout_ms, job.backoff_ms = policy_of(job, defaults)
      job.failure = { delay = IN_PLACE, kind = 'dropped', message = 'the worker dropped the job without a result' }
    end
  end
end
call('DEL', held_key)
if #orphans > 0 then
  requeued = left_processing(orphans, slot, true) or requeued
  retry_or_bury(orphans, now)
end
local told = write_ends(now, mine, true)

local rows = { settled, 0, nil, nil, nil, nil, nil, nil, nil } -- the answer, with room for one job: a table that grows is made anew

-- 4. Claim the best jobs, of `queue` and the open lanes together. A job that has failed before is claimed alone: if it kills its
-- worker, it hits no other job's batch. `claimed` is nil when nobody knows the kit; `more`: it stopped at its bound.
-- Deliveries of webhooks are claimed alone too, and are all that a paused queue gives out.
local gates, paused, rev, expires, fair = unpack(call('HMGET', key('meta'), 'gates', 'paused', 'rev', 'expires', 'fair'))
local claimed, more, too_late = {}, false, nil -- too_late: jobs that it takes out because they have not started in time
repeat -- once: `break` leaves it
  local want, lease_ms, alive_ms, kit = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[9]), ARGV[10]
  local MOVES = 250 -- jobs that one claim parks or drops; at the bound it gives what it has
  local SPARE = 8 -- stale ids that its first look can step over
  local ENOUGH_BYTES = 4194304 -- of payloads in one claim
  local DELIVERY = 'jobqueue.webhook'
  local beat = alive_ms == 0 and now or call('ZSCORE', key('workers'), worker_of(slot))
  if want < 1 or not beat or now - beat > alive_ms then break end
  local ids, leases, aside = {}, {}, false
  if gates == '2' then -- the queue uses limits
    aside = call('EXISTS', key('held'), key('shut'), key('pauses')) > 0 -- something may wait aside
    local one = want == 1 or tonumber(ARGV[11]) < 2 -- who has just run several gets several again: the long way at once
    if not aside and one and kit ~= '' and not expires and paused ~= '1' then
      local job, lease = claim_one(ARGV, now, want)
      if job then claimed, ids, leases = { job }, { job.id }, { lease, job.id } end
    end
    room = room or not ids[1] and limits_room(refresh_lane)
  elseif room then
    if room.freed then room.open_freed() end
    requeued, room = requeued or room.rings, nil
  end
  local due = aside and call('ZRANGEBYSCORE', key('shut'), '-inf', now_text, 'LIMIT', '0', MOVES)
  if due and due[1] then -- time has opened them
    room.open_all(due)
    requeued = true
  end
  local delivery = paused == '1' and next_delivery(kit, now, refresh_lane, room)
  if paused == '1' and not delivery then break end
  local lanes = gates and gates ~= '2' and lanes_for(kit) -- looked at while something is parked or a type is paused
  if gates and gates ~= '2' and not lanes then claimed = nil break end

  -- Whether a job of `expires` stands there whose time is over; mostly a reaper has cancelled it.
  local late = expires and call('ZRANGEBYSCORE', key('expires'), '-inf', now_text, 'LIMIT', 0, 1)[1]
  local timeouts, gone, moves, bytes = {}, {}, 0, 0
  local waiting, from, at, step, all = {}, 0, 1, want + SPARE, false -- the next of the queue, from this rank on
  if delivery then
    local job = job_of(delivery, call('HGETALL', key('job:' .. delivery)))
    local timeout_ms = tonumber(job.timeout_ms or call('ZSCORE', key('kit:' .. kit), DELIVERY))
    claimed, ids, leases = { job }, { delivery }, { digits(lease_end(now, lease_ms, timeout_ms)), delivery }
    call('ZADD', key('deliveries'), 'XX', '-' .. now_text, delivery)
  end
  if room and not delivery and not ids[1] then
    claimed, ids, leases, more, too_late = claim_under_limits(room, ARGV, now, aside, late)
    if not claimed then break end
  end
  while gates ~= '2' and not delivery do
    local width = lanes and 2 or 1
    if at > #waiting and not all then
      local to = from + step - 1
      waiting = lanes and call('ZRANGE', key('queue'), from, to, 'WITHSCORES') or call('ZRANGE', key('queue'), from, to)
      from, at, all = from + step, 1, #waiting < width * step
    end
    local id, lane, least = waiting[at], nil, nil
    if lanes then
      lane, least = lanes.best()
      if lane and id and tonumber(waiting[at + 1]) < least then lane = nil end
      if lane then id = lanes.pass(lane) end
    end
    if not id and not lane then break end

    local job, n = id and job_of(id, call('HGETALL', key('job:' .. id))) or {}, #ids
    local queued, again, job_type = job.status == 'queued', job.attempts and job.attempts ~= '0', job.type or DEFAULT_TYPE
    again = again or job_type == DELIVERY -- no other slot shall wait for it
    local timeout_ms = timeouts[job_type]
    local expired = late and queued and (tonumber(call('ZSCORE', key('expires'), id)) or math.huge) <= now and unstarted(id)
    if expired then queued = false end
    if queued and timeout_ms == nil then -- false: not for this worker, or not now
      if lanes and call('SISMEMBER', key('pauses'), job_type) == 1 then
        timeout_ms = false
      elseif kit ~= '' then
        timeout_ms = tonumber(call('ZSCORE', key('kit:' .. kit), job_type)) or false
      else
        local _, of_type = policy_of({ type = job_type }, defaults)
        timeout_ms = of_type
      end
      timeouts[job_type] = timeout_ms
    end
    if queued and timeout_ms then
      if again and n > 0 then break end
      claimed[n + 1], ids[n + 1] = job, id
      leases[2 * n + 1], leases[2 * n + 2] = digits(lease_end(now, lease_ms, tonumber(job.timeout_ms) or timeout_ms)), id
      if lane then lanes.take(lane, id) else gone[#gone + 1] = id end
      bytes = bytes + #(job.payload or '') + #(job['payload.1'] or '')
      if job_type == DELIVERY then call('ZADD', key('deliveries'), 'XX', '-' .. now_text, id) end
      if again or n + 1 == want or bytes > ENOUGH_BYTES then break end
    elseif queued and not lanes then -- the first job to park: once more from here on, with scores and the lanes
      lanes = lanes_for(kit)
      if not lanes then claimed = nil break end
      waiting, from, at, all = {}, from - step + at - 1, 1 - width, false
    elseif moves >= MOVES then
      more = true
      break
    else
      moves = moves + 1 + (job.errors or 0) -- each of these was read too
      if not lane then
        gone[#gone + 1] = id
        if queued then lanes.park(job_type, id, waiting[at + 1]) end
      elseif id then
        lanes.take(lane, id)
      end
      if expired then
        too_late = too_late or {}
        too_late[#too_late + 1] = expired
      end
    end
    if not lane then at = at + width end
  end

  if not claimed then break end
  if lanes then
    lanes.write()
    gates = '1'
  end
  if #gone > 0 then call('ZREM', key('queue'), unpack(gone)) end
  for _, job in ipairs(too_late or {}) do call('ZREM', key('expires'), job.id) end
  if expires and #ids > 0 then call('ZREM', key('expires'), unpack(ids)) end
  if #ids == 0 then break end
  local token = make_token(slot, seq)
  for _, job in ipairs(claimed) do
    add_row(rows, job, now)
    local attempts = digits((job.attempts or 0) + 1)
    call('HSET', key('job:' .. job.id), 'status', 'processing', 'token', token, 'started', now_text, 'attempts', attempts)
    if job.tallied then TAGGED[job.id] = true end
  end
  call('ZADD', key('leases'), unpack(leases))
  call('RPUSH', held_key, unpack(ids))
until true

if room then
  if room.freed then room.open_freed() end
  requeued = requeued or room.rings
end
if fair and claimed and claimed[1] then pass_rounds(claimed) end
if too_late then
  ENDS, TALLIES, OWED = {}, {}, nil -- those that ended before are written
  for _, job in ipairs(too_late) do expire(job, now, ended, mine) end
  TALLIES.expired = #too_late
  local heard = write_ends(now, mine, true) or {}
  told = { queued = told and told.queued or heard.queued, left = told and told.left or heard.left }
end
if next(TAGGED) then pcall(count_tags, TAGGED, now) end
if rev then -- all that it has moved, with one revision; claims only where the record wants them too
  for _, job in ipairs(orphans) do mine[job.id] = true end
  local wanted = claimed and call('HGET', key('meta'), 'rev_claims')
  for _, job in ipairs(wanted and claimed or {}) do mine[job.id] = true end
  mark(rev, now, mine)
end
call('HSET', key('slots'), slot, ARGV[2])
requeued = requeued or #orphans > 0 or told and told.queued
if requeued then
  ring()
elseif claimed then
  ring({ false, gates }, ARGV[10] == '' and 'bell' or 'bell:' .. ARGV[10])
end
rows[2] = (more and 1 or 0) + (told and told.left and 2 or 0)
return rows
