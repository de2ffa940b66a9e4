-- A slot's one round trip: settles attempts it holds, then claims the best queued jobs, in strict priority and FIFO order.
-- Sent twice, it settles once and answers the same jobs again: (slot, seq) is the token of the claim.
-- KEYS  1 prefix
-- ARGV  1 slot   2 seq of this claim; 0 settles only   3 highest seq whose answer the slot has seen   4 most jobs to claim
--       5 lease in ms   6-8 default max_attempts, timeout_ms, backoff_ms   9 number of attempts to settle
--       (its own, or those of a slot that it replaces), then for each: id, token, outcome, delay in ms (or the special values of the prelude), kind, message,
--       number of field-value pairs to store, field, value ...
--       outcome: done | failed | cancelled | released (attempt not counted, place kept)
-- Returns {settled, claimed}: settled has 1 or 0 (refused: the token is no longer the job's) for each attempt;
-- claimed has {id, field, value ...} for each job, as it was before the claim. A seq below the slot's last: {}.
local slot, seq, seen, want = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local lease_ms, defaults, n = tonumber(ARGV[5]), { ARGV[6], ARGV[7], ARGV[8] }, tonumber(ARGV[9])
local TIMEOUT_GRACE_MS = 1000 -- a worker's own timeout comes before the reaper's
local SPARE = 8               -- stale ids that one claim can step over

local last = tonumber(call('HGET', key('slots'), slot) or 0)
if seq > 0 and seq < last then return {} end
local now = now_ms()
local held_key = key('processing:' .. slot)

-- 1. Settle: look at every attempt, then write.
local attempts, at = {}, 10
for i = 1, n do
  local a = { id = ARGV[at], token = ARGV[at + 1], outcome = ARGV[at + 2], delay = tonumber(ARGV[at + 3]),
    kind = ARGV[at + 4], message = ARGV[at + 5], first = at + 7, last = at + 6 + 2 * tonumber(ARGV[at + 6]) }
  local f = call('HMGET', key('job:' .. a.id), 'status', 'token', 'attempts', 'score', 'cancel', 'errors', 'type', 'max_attempts', 'backoff_ms')
  a.job = { status = f[1], token = f[2], attempts = f[3], score = f[4], cancel = f[5], errors = f[6], type = f[7], max_attempts = f[8], backoff_ms = f[9] }
  if a.outcome == 'failed' then
    local max_attempts, _, backoff_ms = policy_of(a.job, defaults)
    a.policy = { max_attempts = max_attempts, backoff_ms = backoff_ms }
  end
  attempts[i] = a
  at = a.last + 1
end

local settled, mine, counts, done = {}, {}, {}, {}
local function tally(name) counts[name] = (counts[name] or 0) + 1 end
for i, a in ipairs(attempts) do
  mine[a.id] = true
  if a.job.token ~= a.token then
    settled[i] = 0
    call('LREM', key('processing:' .. slot_of(a.token)), 0, a.id) -- a first write that a full Redis allows
    if a.outcome ~= 'released' then tally('refused') end
  elseif a.job.status ~= 'processing' then
    settled[i] = 1 -- this very attempt was settled by an earlier copy of the call
  else
    settled[i] = 1
    call('ZREM', key('leases'), a.id)
    if slot_of(a.token) ~= slot or seq == 0 then call('LREM', key('processing:' .. slot_of(a.token)), 0, a.id) end
    if a.outcome == 'done' then
      call('HSET', key('job:' .. a.id), 'status', 'done', 'finished', digits(now), unpack(ARGV, a.first, a.last))
      done[#done + 1], done[#done + 2] = digits(now), a.id
      tally('done')
    elseif a.outcome == 'cancelled' then
      call('HSET', key('job:' .. a.id), 'status', 'cancelled', 'finished', digits(now), unpack(ARGV, a.first, a.last))
      call('ZADD', key('cancelled'), digits(now), a.id)
      tally('cancelled')
    elseif a.outcome == 'released' then
      if a.job.cancel then
        call('HSET', key('job:' .. a.id), 'status', 'cancelled', 'attempts', a.job.attempts - 1, 'finished', digits(now))
        call('ZADD', key('cancelled'), digits(now), a.id)
        tally('cancelled')
      else
        call('HSET', key('job:' .. a.id), 'status', 'queued', 'attempts', a.job.attempts - 1)
        call('ZADD', key('queue'), a.job.score, a.id)
        tally('released')
      end
    else
      local status = fail(a.id, a.job, a.policy, a, now, { unpack(ARGV, a.first, a.last) })
      tally('errors')
      tally(status == 'failed' and 'failed' or status == 'cancelled' and 'cancelled' or 'retried')
    end
  end
end
if #done > 0 then call('ZADD', key('done'), unpack(done)) end
for name, more in pairs(counts) do count(name, more, now) end
if seq == 0 then
  ring()
  return { settled, {} }
end

-- 2. The same claim again: the same jobs, attempts untouched.
local held = call('LRANGE', held_key, 0, -1)
if seq == last then
  local again = {}
  for _, id in ipairs(held) do
    local flat = id ~= BELL_TOKEN and not mine[id] and call('HGETALL', key('job:' .. id)) or {}
    local job = table_of(flat)
    if job and job.status == 'processing' and job.token == slot .. ':' .. seq then
      job.attempts = job.attempts - 1
      local row = { id }
      for field, value in pairs(job) do row[#row + 1], row[#row + 2] = field, tostring(value) end
      again[#again + 1] = row
    end
  end
  return { settled, again }
end

-- 3. Jobs that the slot holds and does not mention: an answer it never saw goes back unharmed, anything else was a crash.
local orphans = {}
for _, id in ipairs(held) do
  local job = id ~= BELL_TOKEN and not mine[id] and job_of(id)
  if job and job.status == 'processing' and job.token and slot_of(job.token) == slot then
    local max_attempts, _, backoff_ms = policy_of(job, defaults)
    orphans[#orphans + 1] = { id = id, job = job, policy = { max_attempts = max_attempts, backoff_ms = backoff_ms } }
  end
end
call('DEL', held_key)
for _, o in ipairs(orphans) do
  call('ZREM', key('leases'), o.id)
  if tonumber(string.match(o.job.token, ':(%d+)$')) > seen and not o.job.cancel then
    call('HSET', key('job:' .. o.id), 'status', 'queued', 'attempts', o.job.attempts - 1)
    call('ZADD', key('queue'), o.job.score, o.id)
    count('released', 1, now)
  else
    local status = fail(o.id, o.job, o.policy, { delay = IN_PLACE, kind = 'dropped', message = 'the worker dropped the job without a result' }, now)
    count(status == 'queued' and 'retried' or status, 1, now)
  end
end

-- 4. Claim. A job that has failed before is claimed alone, so that what it does to its worker hits nobody else's batch.
local taken, stale, leases, ids, types = {}, {}, {}, {}, {}
if want > 0 and call('HGET', key('meta'), 'paused') ~= '1' then
  for _, id in ipairs(call('ZRANGE', key('queue'), 0, want + SPARE - 1)) do
    local flat = call('HGETALL', key('job:' .. id))
    local job = table_of(flat)
    if not job or job.status ~= 'queued' then
      stale[#stale + 1] = id
    else
      local again = tonumber(job.attempts or 0) > 0
      if again and #taken > 0 then break end
      local timeout_ms = job.timeout_ms or types[job.type]
      if not timeout_ms then
        local _, t = policy_of(job, defaults)
        timeout_ms, types[job.type or ''] = t, t
      end
      leases[#leases + 1] = digits(now + math.min(lease_ms, timeout_ms + TIMEOUT_GRACE_MS))
      leases[#leases + 1] = id
      ids[#ids + 1] = id
      table.insert(flat, 1, id)
      taken[#taken + 1] = { flat = flat, attempts = (job.attempts or 0) + 1 }
      if again or #taken == want then break end
    end
  end
end
if #stale > 0 then call('ZREM', key('queue'), unpack(stale)) end
local claimed = {}
if #taken > 0 then
  call('ZREM', key('queue'), unpack(ids))
  local token, started = slot .. ':' .. seq, digits(now)
  for i, t in ipairs(taken) do
    call('HSET', key('job:' .. ids[i]), 'status', 'processing', 'token', token, 'started', started, 'attempts', t.attempts)
    claimed[i] = t.flat
  end
  call('ZADD', key('leases'), unpack(leases))
  call('RPUSH', held_key, unpack(ids))
end
call('HSET', key('slots'), slot, seq)
if want > 0 then ring() end
return { settled, claimed }
