-- needs: prelude jobs tokens places policy leases kinds ends failures
-- A slot's one round trip: settles attempts that the slot holds, then claims the best queued jobs, in strict priority and FIFO
-- order. A call sent twice settles once and gives the same jobs again: (slot, seq) is the token of the claim.
-- KEYS  1 prefix
-- ARGV  1 slot   2 seq of this claim, 0: settle only   3 highest seq whose answer the slot has seen   4 most jobs to claim
--       5 lease in ms   6-8 default max_attempts, timeout_ms, backoff_ms   9 0, or for a claim that was sent before its time:
--       the greatest age in ms of its worker's last beat; a claim of an older one gets nothing
--       10 number of attempts to settle (its own, or those of a slot that it replaces), then for each: id, token, outcome,
--       delay in ms (or a special value, see failures), kind, message, number of field-value pairs to store, field, value ...
--       outcome: done | failed | cancelled | released (the attempt is not counted, the job keeps its place)
-- Returns {settled, claimed}: settled has 1 or 0 (refused: the token is no longer the job's) for each attempt; claimed has
-- {id, type, attempts before this one, timeout_ms or '', ms it has waited or '' if it ran before, payload, further pieces of
-- it ...} for each job.
-- Returns {} for a seq below the slot's last: the call is a copy that was delayed on its way.
local slot, seq, seen, want = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local lease_ms, defaults, alive_ms = tonumber(ARGV[5]), { ARGV[6], ARGV[7], ARGV[8] }, tonumber(ARGV[9])
local DELAY, KIND, MESSAGE, PAIRS, FIELDS = 3, 4, 5, 6, 7 -- from where an attempt starts in ARGV
local SPARE = 8                                           -- stale ids that one claim can step over
local ENOUGH_BYTES = 4194304                              -- of payloads in one claim

local last = tonumber(call('HGET', key('slots'), slot) or 0)
if seq > 0 and seq < last then return {} end
local now = now_ms()
local now_text, held_key = digits(now), key('processing:' .. slot)

local function less(attempts) return digits(attempts - 1) end

-- Gives back a job whose handler never started.
local function release(job)
  if job.cancel then return ended(job, 'cancelled', now_text, 'attempts', less(job.attempts)) end
  queue_again(job, 'attempts', less(job.attempts))
  tally('released')
end

-- 1. Settle.

-- Looks at the attempts in ARGV. Returns 1 or 0 for each, and the jobs that still run under theirs, each once: in order, and by id.
local function attempts_to_settle()
  local settled, jobs, at = {}, {}, 11
  for i = 1, tonumber(ARGV[10]) do
    local id, token, outcome = ARGV[at], ARGV[at + 1], ARGV[at + 2]
    local job
    if outcome == 'done' then
      local f = call('HMGET', key('job:' .. id), 'status', 'token')
      job = { id = id, status = f[1], token = f[2] }
    else
      job = job_of(id) or {}
    end
    if job.token ~= token then
      settled[i] = 0
      if outcome ~= 'released' then tally('refused') end
    else
      settled[i] = 1 -- also what an earlier copy of this call settled
      if job.status == 'processing' and not jobs[id] then
        if outcome == 'failed' then job.policy = retry_policy_of(job, defaults) end
        job.outcome, job.at = outcome, at
        jobs[#jobs + 1], jobs[id] = job, job
      end
    end
    at = at + FIELDS + 2 * ARGV[at + PAIRS]
  end
  return settled, jobs
end

local function settle(jobs)
  if #jobs > 0 then left_processing(jobs, seq > 0 and slot) else call('LREM', held_key, 0, '') end -- a full Redis allows either
  for _, job in ipairs(jobs) do
    local at, outcome = job.at, job.outcome
    local first, last_pair = at + FIELDS, at + FIELDS - 1 + 2 * ARGV[at + PAIRS]
    if outcome == 'done' or outcome == 'cancelled' then
      ended(job, outcome, now_text, unpack(ARGV, first, last_pair))
    elseif outcome == 'released' then
      release(job)
    else
      local failure = { delay = tonumber(ARGV[at + DELAY]), kind = ARGV[at + KIND], message = ARGV[at + MESSAGE] }
      fail(job, failure, now, { unpack(ARGV, first, last_pair) })
    end
  end
  file_ends()
  count_tallies(now)
end

-- 2. Orphans.

-- Takes back jobs that the slot holds and does not mention: those of an answer that it never saw unharmed, any other as a crash.
local function take_back(held, settled_jobs)
  local jobs = {}
  for _, id in ipairs(held) do
    local job = id ~= BELL_TOKEN and not settled_jobs[id] and job_of(id)
    if job and job.status == 'processing' and job.token then
      local holder, its_seq = read_token(job.token)
      job.policy, job.seen = retry_policy_of(job, defaults), (tonumber(its_seq) or 0) <= seen
      if holder == slot then jobs[#jobs + 1] = job end
    end
  end
  call('DEL', held_key)
  if #jobs == 0 then return end
  left_processing(jobs, slot, true)
  for _, job in ipairs(jobs) do
    local crash = { delay = IN_PLACE, kind = 'dropped', message = 'the worker dropped the job without a result' }
    if job.seen then fail(job, crash, now) else release(job) end
  end
  file_ends()
  count_tallies(now)
end

-- 3. Claim.

local function read_job(id)
  return call('HMGET', key('job:' .. id), 'status', 'type', 'attempts', 'timeout_ms', 'payload', 'created', 'due', unpack(PIECES))
end

-- What a claim answers for a job. `f`: its fields, as read_job gives them.
local function row_of(id, f, started)
  local first = not f[3] or f[3] == '0'
  local waited = first and digits(math.max(0, started - (f[7] or f[6] or started))) or ''
  local row = { id, f[2] or '', f[3] or '0', f[4] or '', waited, f[5] or 'null' }
  for i = 8, 7 + #PIECES do
    if not f[i] then break end
    row[i - 1] = f[i]
  end
  return row
end

-- The same claim again: the same jobs, attempts untouched.
local function claimed_before(held, settled_jobs)
  local rows, token = {}, make_token(slot, seq)
  for _, id in ipairs(held) do
    local claim = id ~= BELL_TOKEN and not settled_jobs[id] and call('HMGET', key('job:' .. id), 'status', 'token', 'started')
    if claim and claim[1] == 'processing' and claim[2] == token then
      local f = read_job(id)
      f[3] = less(f[3])
      rows[#rows + 1] = row_of(id, f, claim[3])
    end
  end
  return rows
end

local function may_claim()
  if want == 0 or call('HGET', key('meta'), 'paused') == '1' then return false end
  if alive_ms == 0 then return true end
  local beat = call('ZSCORE', key('workers'), worker_of(slot))
  return beat and now - beat <= alive_ms
end

-- Looks at the best jobs. One that has failed before is claimed alone, so that what it does to its worker hits no other job's batch.
-- Returns ids in the queue that are not queued, and of the jobs to claim: ids, numbers of the attempt, rows, leases as ZADD takes them.
local function best_jobs()
  local stale, ids, attempts, rows, leases, timeouts, bytes = {}, {}, {}, {}, {}, {}, 0
  for _, id in ipairs(call('ZRANGE', key('queue'), 0, want + SPARE - 1)) do
    local f, n = read_job(id), #ids
    local again = f[3] and f[3] ~= '0'
    if f[1] ~= 'queued' then
      stale[#stale + 1] = id
    elseif again and n > 0 then
      break
    else
      local timeout_ms = tonumber(f[4]) or timeouts[f[2]]
      if not timeout_ms then
        local _, of_type = policy_of({ type = f[2] }, defaults)
        timeout_ms, timeouts[f[2]] = of_type, of_type
      end
      ids[n + 1], attempts[n + 1], rows[n + 1] = id, digits((f[3] or 0) + 1), row_of(id, f, now)
      leases[2 * n + 1], leases[2 * n + 2] = digits(lease_end(now, lease_ms, timeout_ms)), id
      bytes = bytes + #(f[5] or '') + #(f[8] or '')
      if again or n + 1 == want or bytes > ENOUGH_BYTES then break end
    end
  end
  return stale, ids, attempts, rows, leases
end

local function claim()
  local stale, ids, attempts, rows, leases = best_jobs()
  if #stale > 0 then call('ZREM', key('queue'), unpack(stale)) end
  if #ids == 0 then return rows end
  call('ZREM', key('queue'), unpack(ids))
  local token = make_token(slot, seq)
  for i, id in ipairs(ids) do
    call('HSET', key('job:' .. id), 'status', 'processing', 'token', token, 'started', now_text, 'attempts', attempts[i])
  end
  call('ZADD', key('leases'), unpack(leases))
  call('RPUSH', held_key, unpack(ids))
  return rows
end

local settled, settled_jobs = attempts_to_settle()
settle(settled_jobs)
if seq == 0 then
  ring()
  return { settled, {} }
end
local held = call('LRANGE', held_key, 0, -1)
if seq == last then return { settled, claimed_before(held, settled_jobs) } end
take_back(held, settled_jobs)
local claimed = may_claim() and claim() or {}
call('HSET', key('slots'), slot, ARGV[2])
ring()
return { settled, claimed }
