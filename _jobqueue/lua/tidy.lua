-- needs: prelude places kinds fair tags webhooks edges ends waiting lanes limits parked kits by_type marks hold
-- Looks after kits and parked jobs, a bounded number each time. Says which bells are rung. Forgets kits and the types that are in no
-- other. Drops ids that are not parked any more. Makes dead letters of jobs whose type nobody has handled for long. Where too much
-- waits for the record it gives up the oldest.
-- KEYS  1 prefix
-- ARGV  1 most parked jobs to look at   2 how long in ms a type may be without a handler   3 1 to make no dead letters now
-- Returns {the ids of the new dead letters, how many marks it has given up, a tag to be counted anew or ''}.
local most, unhandled_ms, spare, now = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3] == '1', now_ms()
local GIVEN_UP_MOST = 250 -- a trim of the same tick leaves fewer hashes
local KIT_KEPT_MS = math.max(86400000, unhandled_ms) -- a frozen worker finds its kit again
local COUNTED_MS = 86400000 -- for so long the counters of a type that nobody counts are kept
local TYPES_MOST, TYPES_STEP = 4000, 500
local bells_now, gates, swept, untold, rev, hold, fair =
  unpack(call('HMGET', key('meta'), 'bells', 'gates', 'swept', 'untold', 'rev', 'hold', 'fair'))

-- 1. Kits: those that live, those to forget. `untold`: until when there was a worker without one; nobody can say what it handled.
local kits, bells, gone = {}, {}, {}
local rows = call('ZRANGE', key('kits'), 0, -1, 'WITHSCORES')
for i = 1, #rows, 2 do
  local kit, age = rows[i], now - rows[i + 1]
  if age > KIT_KEPT_MS then gone[#gone + 1] = kit else kits[kit] = tonumber(rows[i + 1]) end
  if age <= KIT_LIVES_MS then bells[#bells + 1] = 'bell:' .. kit end
end
local _, old = workers_alive(now)
old = old > 0
if old or #bells == 0 then table.insert(bells, 1, 'bell') end
local told_since = not old and tonumber(untold) or now

-- What workers published of types that are in no kit any more. Looked for when a kit is forgotten, and only when every worker of
-- that time had one.
local unpublished = {}
local published = #gone > 0 and told_since < now - KIT_KEPT_MS and call('HKEYS', key('types')) or {}
for from = 1, math.min(#published, TYPES_MOST), TYPES_STEP do
  local some, known = { unpack(published, from, math.min(#published, from + TYPES_STEP - 1)) }, {}
  for kit in pairs(kits) do
    for i, score in ipairs(call('ZMSCORE', key('kit:' .. kit), unpack(some))) do known[i] = known[i] or score end
  end
  for i, job_type in ipairs(some) do
    if not known[i] then unpublished[#unpublished + 1] = job_type end
  end
end
local idle = redis.pcall('ZRANGEBYSCORE', key('counted'), '-inf', digits(now - COUNTED_MS), 'LIMIT', 0, most)

-- When a type was last handled, as far as is known.
local function handled_at(job_type)
  local at = told_since
  for kit, beat in pairs(kits) do
    if beat > at and call('ZSCORE', key('kit:' .. kit), job_type) then at = beat end
  end
  return at
end

-- 2. Jobs that wait, in turn: those that are parked and, when the oldest of the queue has waited for long, all: perhaps nobody has
-- come by to park them.
local since, strays, dead, swept_to = waiting_since(now, fair), {}, {}, {}
for i, index in ipairs({ 'held', 'queue' }) do
  local waits = index == 'held' and gates or since and now - since > unhandled_ms
  local from = string.match(swept or '', i == 1 and '^(%S+)' or '(%S+)$') or '-inf'
  local ids = waits and call('ZRANGEBYSCORE', key(index), from, '+inf', 'WITHSCORES', 'LIMIT', 0, most) or {}
  for at = 1, #ids, 2 do
    local f = call('HMGET', key('job:' .. ids[at]), 'status', 'type', 'due', 'created', 'errors', 'attempts', 'also', 'tallied')
    local job = { id = ids[at], type = f[2] or DEFAULT_TYPE, errors = tonumber(f[5]) or 0, attempts = tonumber(f[6]) or 0,
      also = f[7], tallied = f[8] }
    if f[1] ~= 'queued' or index == 'held' and call('ZSCORE', key('queue'), job.id) then
      if index == 'held' then strays[#strays + 1] = { job.id, f[2] } end -- one that a program of the release before has moved
    elseif not spare and now - tonumber(f[3] or f[4] or now) > unhandled_ms and now - handled_at(job.type) > unhandled_ms then
      dead[#dead + 1] = job
    end
  end
  swept_to[i] = #ids == 2 * most and '(' .. ids[#ids] or '-inf'
end
-- Types that somebody submitted while no worker had published them leave `strange` when one has, or none of their jobs waits. Of
-- a long queue nobody can say that.
local not_strange, waiting = {}, {}
local strange = call('SMEMBERS', key('strange'))
if #strange > 0 and call('ZCARD', key('queue')) <= most then
  for _, id in ipairs(call('ZRANGE', key('queue'), 0, -1)) do
    waiting[call('HGET', key('job:' .. id), 'type') or DEFAULT_TYPE] = true
  end
  for _, job_type in ipairs(strange) do
    local waits = waiting[job_type] or call('EXISTS', key('lane:' .. job_type)) == 1
    if not waits or call('HEXISTS', key('types'), job_type) == 1 then not_strange[#not_strange + 1] = job_type end
  end
end
local unhandled = {}
for _, job_type in ipairs(gates and call('ZRANGE', key('lanes'), 0, 999) or {}) do
  if #unhandled < 20 and now - handled_at(job_type) > KIT_LIVES_MS then unhandled[#unhandled + 1] = job_type end
end

-- 3. Write.
call('HDEL', key('meta'), 'swept', 'unhandled') -- a first write that a full Redis allows
for _, kit in ipairs(gone) do
  call('ZREM', key('kits'), kit)
  call('DEL', key('kit:' .. kit), key('bell:' .. kit))
end
for _, job_type in ipairs(unpublished) do
  call('HDEL', key('types'), job_type)
  call('HDEL', key('backoffs'), job_type)
end
for _, job_type in ipairs(idle) do
  call('ZREM', key('counted'), job_type)
  call('HDEL', key('by_type'), job_type)
end
if #not_strange > 0 then call('SREM', key('strange'), unpack(not_strange)) end
local names = table.concat(bells, ' ')
if names ~= (bells_now or 'bell') then call('HSET', key('meta'), 'bells', names) end
if told_since ~= tonumber(untold) then call('HSET', key('meta'), 'untold', digits(told_since)) end
if #unhandled > 0 then call('HSET', key('meta'), 'unhandled', table.concat(unhandled, ' ')) end
swept_to = table.concat(swept_to, ' ')
if swept_to ~= '-inf -inf' then call('HSET', key('meta'), 'swept', swept_to) end
for _, stray in ipairs(strays) do unpark(stray[1], stray[2]) end
local buried, by_type, marked, now_text = {}, {}, {}, digits(now)
for i, job in ipairs(dead) do
  local message = 'no worker has handled the type ' .. job.type .. ' for ' .. digits(unhandled_ms / 1000) .. ' s'
  local head = table.concat({ now_text, job.attempts, 'no_handler', '-', '-' }, ' ')
  unqueue(job.id)
  call('ZREM', key('expires'), job.id)
  file_under('no_handler', job.id, now_text)
  ended(job, 'failed', now_text, 'errors', digits(job.errors + 1), 'error:' .. job.errors + 1, head .. '\n' .. message)
  tally('errors:no_handler')
  buried[i], by_type[2 * i - 1], by_type[2 * i], marked[job.id] = job.id, job.type, '{"failed":1}', true
end
write_ends(now, marked)
pcall(count_by_type, by_type, now)
local given_up = 0
if rev then
  mark(rev, now, marked)
  given_up = give_up(hold, now, GIVEN_UP_MOST)
end
if gates and gates ~= '2' and call('EXISTS', key('held'), key('pauses')) == 0 then
  call('HDEL', key('meta'), 'gates')
  call('DEL', key('lanes'))
end
ring()
return { buried, given_up, call('SRANDMEMBER', key('recounts')) or '' }
