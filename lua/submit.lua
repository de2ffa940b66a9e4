-- Stores jobs of one queue, all or none. Sent twice, it stores them once.
-- KEYS  1 prefix
-- ARGV  1 idempotency key or ''   2 fingerprint of the request   3 number of jobs
--       then for each job: id, priority 0-9, due, number of field-value pairs, field, value ...
--       due: '' at once, '+<ms>' from now, or ms since the epoch
-- Returns {'stored', now, position of the first job or -1}, {'replayed'} or {'conflict'}.
local idem, fingerprint, n = ARGV[1], ARGV[2], tonumber(ARGV[3])
local PRIORITY_STEP = 2 ^ 43

if idem ~= '' then
  local seen = call('HGET', key('idem:' .. idem), 'request')
  if seen == fingerprint then return { 'replayed' } end
  if seen then return { 'conflict' } end
end
local now = now_ms()
local jobs, keys, at = {}, {}, 4
for i = 1, n do
  local id, due, pairs_n = ARGV[at], ARGV[at + 2], tonumber(ARGV[at + 3])
  local due_ms = 0
  if string.sub(due, 1, 1) == '+' then due_ms = now + tonumber(string.sub(due, 2)) elseif due ~= '' then due_ms = tonumber(due) end
  jobs[i] = { id = id, priority = tonumber(ARGV[at + 1]), due = due_ms, first = at + 4, last = at + 3 + 2 * pairs_n }
  keys[i] = key('job:' .. id)
  at = at + 4 + 2 * pairs_n
end
if call('EXISTS', unpack(keys)) > 0 then return { 'replayed' } end

local seq = call('HINCRBY', key('meta'), 'seq', n) - n
count('submitted', n, now)
local queued, scheduled = {}, {}
for i, job in ipairs(jobs) do
  local score = digits((9 - job.priority) * PRIORITY_STEP + seq + i)
  if job.due > now then
    local due = digits(job.due)
    call('HSET', keys[i], 'status', 'scheduled', 'score', score, 'created', digits(now), 'due', due, unpack(ARGV, job.first, job.last))
    scheduled[#scheduled + 1], scheduled[#scheduled + 2] = due, job.id
  else
    call('HSET', keys[i], 'status', 'queued', 'score', score, 'created', digits(now), unpack(ARGV, job.first, job.last))
    queued[#queued + 1], queued[#queued + 2] = score, job.id
  end
end
if #scheduled > 0 then call('ZADD', key('scheduled'), unpack(scheduled)) end
if #queued > 0 then call('ZADD', key('queue'), unpack(queued)) end
if idem ~= '' then call('HSET', key('idem:' .. idem), 'request', fingerprint, 'jobs', n) end
ring()
local position = -1
if n == 1 and #queued > 0 then position = call('ZRANK', key('queue'), jobs[1].id) end
return { 'stored', digits(now), position }
