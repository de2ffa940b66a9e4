-- needs: prelude expiry jobs tokens places policy lanes limits leases kinds fair tags webhooks edges ends failures claims limited_claims passed marks
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
-- Returns {settled, claimed, 1 when it stopped at its bound and there may be more for it, else 0, and 2 more when children are
-- still to be told of an end (tell.lua)}: settled has 1 or 0 (refused:
-- the token is no longer the job's) for each attempt; claimed has {id, type, attempts before this one, timeout_ms or '',
-- ms it has waited or '' if it ran before (of a job that belongs to a trace, then a blank and that), payload, further pieces of
-- it ...} for each job.
-- Returns {} for a seq below the slot's last: the call is a copy that was delayed on its way.
local slot, seq, defaults = ARGV[1], tonumber(ARGV[2]), { ARGV[6], ARGV[7], ARGV[8] }
local last = tonumber(call('HGET', key('slots'), slot) or 0)
if seq > 0 and seq < last then return {} end
local now = now_ms()
local now_text, held_key, room = digits(now), key('processing:' .. slot), nil -- room: parts/limits.lua, where it is needed

-- The four parts stand in the order in which they run. A function is made when the script comes to it: one that a call does not
-- need, or does not come to, should cost it nothing.

-- 1. Settle. Returns 1 or 0 for each attempt, the jobs that this call has settled: id -> true, and whether some did not succeed, or
-- let others start that have waited for a limit.
local function settle()
  local TOKEN, OUTCOME, DELAY, KIND, MESSAGE, PAIRS, FIELDS = 1, 2, 3, 4, 5, 6, 7 -- from where an attempt starts in ARGV
  local settled, mine, jobs, unsuccessful, opened, at = {}, {}, {}, false, false, 12
  for i = 1, tonumber(ARGV[11]) do
    local id, outcome, job = ARGV[at], ARGV[at + OUTCOME], nil
    if outcome == 'done' then
      local f = call('HMGET', key('job:' .. id), 'status', 'token', 'also', 'tallied')
      job = { id = id, status = f[1], token = f[2], also = f[3], tallied = f[4], at = at }
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

  if #jobs > 0 then opened, room = left_processing(jobs, seq > 0 and slot) else call('LREM', held_key, 0, '') end -- a full Redis allows either
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
  return settled, mine, unsuccessful or opened
end

local settled, mine, requeued = settle()
if seq == 0 then
  local told = write_ends(now, mine)
  local meta = call('HMGET', key('meta'), 'bells', 'gates', 'rev')
  if meta[3] then mark(meta[3], now, mine) end
  ring(meta)
  return { settled, {}, told and told.left and 2 or 0 }
end
local others = {} -- ids in the slot's list that it does not mention
for _, id in ipairs(call('LRANGE', held_key, 0, -1)) do
  if id ~= BELL_TOKEN and not mine[id] then others[#others + 1] = id end
end

local function read_job(id, ...)
  return call('HMGET', key('job:' .. id), 'status', 'type', 'attempts', 'timeout_ms', 'payload', 'created', 'due', 'tallied', 'trace',
    'payload.1', 'payload.2', 'payload.3', 'payload.4', 'payload.5', 'payload.6', 'payload.7', ...)
end

-- What a claim answers for a job. `f`: its fields, as read_job gives them.
local function row_of(id, f, started)
  local first = not f[3] or f[3] == '0'
  local waited = first and digits(math.max(0, started - (f[7] or f[6] or started))) or ''
  if f[9] then waited = waited .. ' ' .. f[9] end
  local last_piece = 9
  while f[last_piece + 1] do last_piece = last_piece + 1 end
  return { id, f[2] or '', f[3] or '0', f[4] or '', waited, f[5] or 'null', unpack(f, 10, last_piece) }
end

-- 2. The same claim again: the same jobs, attempts untouched.
if seq == last then
  local rows, token = {}, make_token(slot, seq)
  for _, id in ipairs(others) do
    local claimed = call('HMGET', key('job:' .. id), 'status', 'token', 'started')
    if claimed[1] == 'processing' and claimed[2] == token then
      local f = read_job(id)
      f[3] = digits(f[3] - 1)
      rows[#rows + 1] = row_of(id, f, claimed[3])
    end
  end
  write_ends(now, mine)
  local rev = next(mine) and call('HGET', key('meta'), 'rev')
  if rev then mark(rev, now, mine) end
  return { settled, rows, call('EXISTS', key('queue')) }
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

-- 4. Claim the best jobs, of `queue` and the open lanes together. A job that has failed before is claimed alone: if it kills its
-- worker, it hits no other job's batch. Returns the rows, and whether it stopped at its bound; nil when nobody knows the kit.
-- Deliveries of webhooks are claimed alone too, and are all that a paused queue gives out.
local too_late -- jobs that it takes out because they have not started in time
local function claim(meta)
  local want, lease_ms, alive_ms, kit = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[9]), ARGV[10]
  local MOVES = 250 -- jobs that one claim parks or drops; at the bound it gives what it has
  local SPARE = 8 -- stale ids that its first look can step over
  local ENOUGH_BYTES = 4194304 -- of payloads in one claim
  local DELIVERY = 'jobqueue.webhook'
  local beat = alive_ms == 0 and now or call('ZSCORE', key('workers'), worker_of(slot))
  if want < 1 or not beat or now - beat > alive_ms then return {}, false end
  room = meta[2] == '2' and (room or limits_room(refresh_lane)) -- the queue uses limits
  local aside = room and call('EXISTS', key('held'), key('shut'), key('pauses')) > 0 -- something may wait aside
  if aside and room:open_due(now, MOVES) then requeued = true end
  local delivery = meta[3] == '1' and next_delivery(kit, now, refresh_lane, room)
  if meta[3] == '1' and not delivery then return {}, false end
  local lanes = meta[2] and not room and lanes_for(kit) -- looked at while something is parked or a type is paused
  if meta[2] and not room and not lanes then return nil end

  -- Whether a job of `expires` stands there whose time is over; mostly a reaper has cancelled it.
  local late = meta[6] and call('ZRANGEBYSCORE', key('expires'), '-inf', now_text, 'LIMIT', 0, 1)[1]
  local ids, attempts, rows, leases, timeouts, gone, moves, more, bytes = {}, {}, {}, {}, {}, {}, 0, false, 0
  local waiting, from, at, step, all = {}, 0, 1, want + SPARE, false -- the next of the queue, from this rank on
  if delivery then
    local f, timeout_ms = read_job(delivery), tonumber(call('ZSCORE', key('kit:' .. kit), DELIVERY))
    ids, attempts, rows = { delivery }, { digits((f[3] or 0) + 1) }, { row_of(delivery, f, now) }
    leases = { digits(lease_end(now, lease_ms, tonumber(f[4]) or timeout_ms)), delivery }
    call('ZADD', key('deliveries'), 'XX', '-' .. now_text, delivery)
  end
  if room and not delivery then
    local found = claim_under_limits(room, { now = now, want = want, kit = kit, aside = aside, MOVES = MOVES, SPARE = SPARE,
      ENOUGH_BYTES = ENOUGH_BYTES, read_job = read_job, row_of = row_of, lease_end = lease_end, lease_ms = lease_ms,
      policy_of = policy_of, defaults = defaults, tagged = TAGGED, late = late, unstarted = unstarted })
    if not found then return nil end
    ids, attempts, rows, leases, more = found.ids, found.attempts, found.rows, found.leases, found.more
    too_late = found.too_late[1] and found.too_late
  end
  while not room and not delivery do
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

    local f, n = id and read_job(id) or {}, #ids
    local queued, again, job_type = f[1] == 'queued', f[3] and f[3] ~= '0', f[2] or DEFAULT_TYPE
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
      ids[n + 1], attempts[n + 1], rows[n + 1] = id, digits((f[3] or 0) + 1), row_of(id, f, now)
      leases[2 * n + 1], leases[2 * n + 2] = digits(lease_end(now, lease_ms, tonumber(f[4]) or timeout_ms)), id
      if f[8] then TAGGED[id] = true end
      if lane then lanes.take(lane, id) else gone[#gone + 1] = id end
      bytes = bytes + #(f[5] or '') + #(f[10] or '')
      if job_type == DELIVERY then call('ZADD', key('deliveries'), 'XX', '-' .. now_text, id) end
      if again or n + 1 == want or bytes > ENOUGH_BYTES then break end
    elseif queued and not lanes then -- the first job to park: once more from here on, with scores and the lanes
      lanes = lanes_for(kit)
      if not lanes then return nil end
      waiting, from, at, all = {}, from - step + at - 1, 1 - width, false
    elseif moves == MOVES then
      more = true
      break
    else
      moves = moves + 1
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

  if lanes then
    lanes.write()
    meta[2] = '1'
  end
  if #gone > 0 then call('ZREM', key('queue'), unpack(gone)) end
  for _, job in ipairs(too_late or {}) do call('ZREM', key('expires'), job.id) end
  if meta[6] and #ids > 0 then call('ZREM', key('expires'), unpack(ids)) end
  if #ids == 0 then return {}, more end
  local token = make_token(slot, seq)
  for i, id in ipairs(ids) do
    call('HSET', key('job:' .. id), 'status', 'processing', 'token', token, 'started', now_text, 'attempts', attempts[i])
  end
  call('ZADD', key('leases'), unpack(leases))
  call('RPUSH', held_key, unpack(ids))
  return rows, more
end

local meta = call('HMGET', key('meta'), 'bells', 'gates', 'paused', 'rev', 'rev_claims', 'expires', 'fair')
local claimed, more = claim(meta)
if meta[7] and claimed and claimed[1] then pass_rounds(claimed, priority_of) end
if too_late then
  ENDS, TALLIES, OWED = {}, {}, nil -- those that ended before are written
  for _, job in ipairs(too_late) do expire(job, now, ended, mine) end
  TALLIES.expired = #too_late
  local heard = write_ends(now, mine, true) or {}
  told = { queued = told and told.queued or heard.queued, left = told and told.left or heard.left }
end
if next(TAGGED) then pcall(count_tags, TAGGED, now) end
if meta[4] then -- all that it has moved, with one revision; claims only where the record wants them too
  for _, job in ipairs(orphans) do mine[job.id] = true end
  for _, row in ipairs(meta[5] and claimed or {}) do mine[row[1]] = true end
  mark(meta[4], now, mine)
end
call('HSET', key('slots'), slot, ARGV[2])
requeued = requeued or #orphans > 0 or told and told.queued
if claimed or requeued then ring(meta, not requeued and (ARGV[10] == '' and 'bell' or 'bell:' .. ARGV[10])) end
return { settled, claimed or {}, (more and 1 or 0) + (told and told.left and 2 or 0) }
