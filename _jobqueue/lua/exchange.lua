-- A slot's one round trip: settles attempts it holds, then claims the best queued jobs, in strict priority and FIFO order.
-- Sent twice, it settles once and answers the same jobs again: (slot, seq) is the token of the claim.
-- KEYS  1 prefix
-- ARGV  1 slot   2 seq of this claim; 0 settles only   3 highest seq whose answer the slot has seen   4 most jobs to claim
--       5 lease in ms   6-8 default max_attempts, timeout_ms, backoff_ms   9 0, or for a claim that was sent before its time:
--       the greatest age in ms that its worker's last beat may have, else nothing is claimed
--       10 number of attempts to settle (its own, or those of a slot that it replaces), then for each: id, token, outcome,
--       delay in ms (or the special values of the prelude), kind, message, number of field-value pairs to store, field, value ...
--       outcome: done | failed | cancelled | released (attempt not counted, place kept)
-- Returns {settled, claimed}: settled has 1 or 0 (refused: the token is no longer the job's) for each attempt; claimed has
-- {id, type, attempts before this one, timeout_ms or '', ms it has waited or '' if it ran before, payload, further pieces of
-- it ...} for each job.
-- A seq below the slot's last, a copy delayed on its way: {}.
local slot, seq, seen, want = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local lease_ms, defaults, alive_ms, n = tonumber(ARGV[5]), { ARGV[6], ARGV[7], ARGV[8] }, tonumber(ARGV[9]), tonumber(ARGV[10])
local TIMEOUT_GRACE_MS = 1000 -- a worker's own timeout comes before the reaper's
local SPARE = 8               -- stale ids that one claim can step over

local last = tonumber(call('HGET', key('slots'), slot) or 0)
if seq > 0 and seq < last then return {} end
local now = now_ms()
local now_text = digits(now)
local held_key = key('processing:' .. slot)
if alive_ms > 0 then
  local beat = call('ZSCORE', key('workers'), string.match(slot, '^(.*)%-'))
  if not beat or now - beat > alive_ms then want = 0 end
end

local function less(attempts) return digits(attempts - 1) end

-- Gives back an attempt whose handler never started.
local function release(id, job)
  if job.cancel then
    call('HSET', key('job:' .. id), 'status', 'cancelled', 'attempts', less(job.attempts), 'finished', now_text)
    call('ZADD', key('cancelled'), now_text, id)
    return 'cancelled'
  end
  call('HSET', key('job:' .. id), 'status', 'queued', 'attempts', less(job.attempts))
  call('ZADD', key('queue'), job.score, id)
  return 'released'
end

-- 1. Settle: look at every attempt, then write.
local settled, mine, counts, ended, freed, at = {}, {}, {}, {}, {}, 11
local function tally(name) counts[name] = (counts[name] or 0) + 1 end
for i = 1, n do
  local id, token, outcome = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local first, last_pair = at + 7, at + 6 + 2 * ARGV[at + 6]
  local job
  if outcome == 'done' then
    local f = call('HMGET', key('job:' .. id), 'status', 'token')
    job = { status = f[1], token = f[2] }
  else
    job = job_of(id) or {}
  end
  if job.token ~= token then
    settled[i] = 0
    if outcome ~= 'released' then tally('refused') end
  else
    settled[i] = 1 -- also what an earlier copy of this call settled
    if job.status == 'processing' and not mine[id] then
      mine[id] = true
      freed[#freed + 1] = id
      local policy = outcome == 'failed' and retry_policy_of(job, defaults)
      ended[#ended + 1] = { id = id, at = at, outcome = outcome, job = job, policy = policy, first = first, last = last_pair }
    end
  end
  at = last_pair + 1
end

if #freed > 0 then call('ZREM', key('leases'), unpack(freed)) else call('LREM', held_key, 0, '') end -- a full Redis allows either
local done = {}
for _, e in ipairs(ended) do
  local id, job_key = e.id, key('job:' .. e.id)
  local owner = slot_of(ARGV[e.at + 1])
  if seq == 0 or owner ~= slot then call('LREM', key('processing:' .. owner), 0, id) end
  if e.outcome == 'done' then
    call('HSET', job_key, 'status', 'done', 'finished', now_text, unpack(ARGV, e.first, e.last))
    done[#done + 1], done[#done + 2] = now_text, id
    tally('done')
  elseif e.outcome == 'cancelled' then
    call('HSET', job_key, 'status', 'cancelled', 'finished', now_text, unpack(ARGV, e.first, e.last))
    call('ZADD', key('cancelled'), now_text, id)
    tally('cancelled')
  elseif e.outcome == 'released' then
    tally(release(id, e.job))
  else
    local failure = { delay = tonumber(ARGV[e.at + 3]), kind = ARGV[e.at + 4], message = ARGV[e.at + 5] }
    local status = fail(id, e.job, e.policy, failure, now, { unpack(ARGV, e.first, e.last) })
    tally('errors:' .. reason_of(failure.kind))
    tally((status == 'failed' or status == 'cancelled') and status or 'retried')
  end
end
if #done > 0 then call('ZADD', key('done'), unpack(done)) end
for name, more in pairs(counts) do count(name, more, now) end
if seq == 0 then
  ring()
  return { settled, {} }
end

-- What a claim answers for a job.
local function read_row(id)
  return call('HMGET', key('job:' .. id), 'status', 'type', 'attempts', 'timeout_ms', 'payload', 'created', 'due',
    'payload.1', 'payload.2', 'payload.3', 'payload.4', 'payload.5', 'payload.6', 'payload.7')
end
local function row_of(id, f, started)
  local first = not f[3] or f[3] == '0'
  local waited = first and digits(math.max(0, started - (f[7] or f[6] or started))) or ''
  return { id, f[2] or '', f[3] or '0', f[4] or '', waited, f[5] or 'null', f[8] or nil, f[9] or nil, f[10] or nil,
    f[11] or nil, f[12] or nil, f[13] or nil, f[14] or nil }
end

-- 2. The same claim again: the same jobs, attempts untouched.
local held = call('LRANGE', held_key, 0, -1)
local token = slot .. ':' .. seq
if seq == last then
  local again = {}
  for _, id in ipairs(held) do
    if id ~= BELL_TOKEN and not mine[id] and call('HGET', key('job:' .. id), 'token') == token then
      local f = read_row(id)
      f[3] = less(f[3])
      if f[1] == 'processing' then again[#again + 1] = row_of(id, f, call('HGET', key('job:' .. id), 'started')) end
    end
  end
  return { settled, again }
end

-- 3. Jobs that the slot holds and does not mention: an answer it never saw goes back unharmed, anything else was a crash.
local orphans = {}
for _, id in ipairs(held) do
  local job = id ~= BELL_TOKEN and not mine[id] and job_of(id)
  if job and job.status == 'processing' and job.token and slot_of(job.token) == slot then
    orphans[#orphans + 1] = { id = id, job = job, policy = retry_policy_of(job, defaults) }
  end
end
call('DEL', held_key)
for _, o in ipairs(orphans) do
  call('ZREM', key('leases'), o.id)
  call('HDEL', key('job:' .. o.id), 'token') -- from here on a late result is refused
  local outcome
  if tonumber(string.match(o.job.token, ':(%d+)$')) > seen then
    outcome = release(o.id, o.job)
  else
    local crash = { delay = IN_PLACE, kind = 'dropped', message = 'the worker dropped the job without a result' }
    outcome = fail(o.id, o.job, o.policy, crash, now)
    count('errors:dropped', 1, now)
    if outcome == 'queued' then outcome = 'retried' end
  end
  count(outcome, 1, now)
end

-- 4. Claim. A job that has failed before is claimed alone, so that what it does to its worker hits nobody else's batch.
local ids, attempts_now, claimed, leases, stale, timeouts = {}, {}, {}, {}, {}, {}
if want > 0 and call('HGET', key('meta'), 'paused') ~= '1' then
  for _, id in ipairs(call('ZRANGE', key('queue'), 0, want + SPARE - 1)) do
    local f = read_row(id)
    if f[1] ~= 'queued' then
      stale[#stale + 1] = id
    else
      local again = f[3] and f[3] ~= '0'
      if again and #ids > 0 then break end
      local timeout_ms = tonumber(f[4]) or timeouts[f[2]]
      if not timeout_ms then
        local _, of_type = policy_of({ type = f[2] }, defaults)
        timeout_ms, timeouts[f[2]] = of_type, of_type
      end
      ids[#ids + 1] = id
      attempts_now[#ids] = digits((f[3] or 0) + 1)
      claimed[#ids] = row_of(id, f, now)
      leases[#leases + 1] = digits(now + math.min(lease_ms, timeout_ms + TIMEOUT_GRACE_MS))
      leases[#leases + 1] = id
      if again or #ids == want then break end
    end
  end
end
if #stale > 0 then call('ZREM', key('queue'), unpack(stale)) end
if #ids > 0 then
  call('ZREM', key('queue'), unpack(ids))
  for i, id in ipairs(ids) do
    call('HSET', key('job:' .. id), 'status', 'processing', 'token', token, 'started', now_text, 'attempts', attempts_now[i])
  end
  call('ZADD', key('leases'), unpack(leases))
  call('RPUSH', held_key, unpack(ids))
end
call('HSET', key('slots'), slot, ARGV[2])
ring()
return { settled, claimed }
