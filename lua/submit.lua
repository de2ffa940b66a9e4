-- Stores jobs of one queue, all or none. Sent twice, it stores them once.
-- KEYS  1 prefix
-- ARGV  1 idempotency key or ''   2 fingerprint of the request   3 number of jobs
--       then for each job: id, priority 0-9, due, unique key or '', tags, number of field-value pairs, field, value ...
--       due: '' at once, '+<ms>' from now, or ms since the epoch; tags: separated by blanks
-- Returns {'stored' or 'replayed', now, position of a single job or -1, for each job the id of the one that lives under its
-- unique key, which stands for it, or ''}; {'conflict'} when the idempotency key was used for another request.
local idem, fingerprint, n = ARGV[1], ARGV[2], tonumber(ARGV[3])
local now = now_ms()
local now_text = digits(now)

local jobs, keys, at = {}, {}, 4
for i = 1, n do
  local due, pairs_n = ARGV[at + 2], tonumber(ARGV[at + 5])
  local due_ms = tonumber(due) or 0
  if string.sub(due, 1, 1) == '+' then due_ms = now + due_ms end
  jobs[i] = { id = ARGV[at], priority = tonumber(ARGV[at + 1]), due = due_ms, unique = ARGV[at + 3], tags = ARGV[at + 4],
    first = at + 6, last = at + 5 + 2 * pairs_n }
  keys[i] = key('job:' .. ARGV[at])
  at = jobs[i].last + 1
end

local existing, stored = {}, {}
if idem ~= '' then
  local seen = call('HGET', key('idem:' .. idem), 'request')
  if seen and seen ~= fingerprint then return { 'conflict' } end
  if seen then
    for i = 1, n do existing[i] = call('HGET', key('idem:' .. idem), 'stood_for:' .. i) or '' end
    return { 'replayed', now_text, -1, existing }
  end
end
if call('EXISTS', unpack(keys)) > 0 then
  for i, job in ipairs(jobs) do
    local stood_for = job.unique ~= '' and call('EXISTS', keys[i]) == 0
    existing[i] = stood_for and call('GET', key('unique:' .. job.unique)) or ''
  end
  return { 'replayed', now_text, -1, existing }
end
local named = {}
for i, job in ipairs(jobs) do
  existing[i] = ''
  if job.unique ~= '' then
    local holder = named[job.unique] or call('GET', key('unique:' .. job.unique))
    if holder and (named[job.unique] or lives(holder)) then existing[i] = holder else named[job.unique] = job.id end
  end
  if existing[i] == '' then stored[#stored + 1] = i end
end

local seq = call('HINCRBY', key('meta'), 'seq', #stored) - #stored
if #stored > 0 then count('submitted', #stored, now) end
local queued, scheduled = {}, {}
for place, i in ipairs(stored) do
  local job = jobs[i]
  local score = digits((9 - job.priority) * PRIORITY_STEP + seq + place)
  if job.due > now then
    local due = digits(job.due)
    call('HSET', keys[i], 'status', 'scheduled', 'score', score, 'created', now_text, 'due', due, unpack(ARGV, job.first, job.last))
    scheduled[#scheduled + 1], scheduled[#scheduled + 2] = due, job.id
  else
    call('HSET', keys[i], 'status', 'queued', 'score', score, 'created', now_text, unpack(ARGV, job.first, job.last))
    queued[#queued + 1], queued[#queued + 2] = score, job.id
  end
  if job.unique ~= '' then
    call('HSET', keys[i], 'unique', job.unique)
    call('SET', key('unique:' .. job.unique), job.id)
  end
  if job.tags ~= '' then
    call('HSET', keys[i], 'tags', job.tags)
    for tag in string.gmatch(job.tags, '%S+') do call('ZADD', key('tag:' .. tag), now_text, job.id) end
  end
end
if #scheduled > 0 then call('ZADD', key('scheduled'), unpack(scheduled)) end
if #queued > 0 then call('ZADD', key('queue'), unpack(queued)) end
if idem ~= '' then
  call('HSET', key('idem:' .. idem), 'request', fingerprint, 'jobs', #stored)
  for i, id in ipairs(existing) do
    if id ~= '' then call('HSET', key('idem:' .. idem), 'stood_for:' .. i, id) end
  end
  if #stored == 0 then call('PEXPIRE', key('idem:' .. idem), IDEMPOTENCY_MS) end
end
ring()
local position = -1
if n == 1 and #queued > 0 then position = call('ZRANK', key('queue'), jobs[1].id) end
return { 'stored', now_text, position, existing }
