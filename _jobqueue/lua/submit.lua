-- needs: prelude expiry places unique kits flows fair names room tags webhooks marks
-- Stores jobs of one queue, all or none. A call sent twice stores them once.
-- KEYS  1 prefix
-- ARGV  1 idempotency key or ''   2 fingerprint of the request   3 number of jobs   4 the queue's number, which the ids carry
--       5 has an r when the registry has just given that number (else the caller remembers it), a w when a job names a webhook,
--         an l when one names a limit
--       6 the key that remembers the whole request, over all queues, or '' (on a Cluster it may live elsewhere)   7 its fingerprint
--       8 types among them that no worker has published, separated by blanks
--       9 jobs of the same request that are still to come, see parts/room.lua, or ''
--       then for each job: id, priority 0-9, due, unique key or '', tags, number of field-value pairs, field, value ...
--       due: '' at once, '+<ms>' from now, or ms since the epoch; then, where it may not start for the first time whenever, '/' and
--       within how many ms it must; tags: separated by blanks; a fair_key is the first field
--       then what jobs wait for, see parts/flows.lua
-- Returns '<now> <position of a single job or -1>' when all are new and none waits for others: a text costs a tenth of a table. Else
-- {'stored' or 'replayed', now, position, for each job the id of the living one that has its unique key and stands for it, or '';
-- where some wait for others, for each job how many these still are};
-- {'conflict'} when the idempotency key was used for another request;
-- {'refused', number of a job, number of a reference, 'unknown', 'parent_gone' (it is cancelled) or 'full' (it has too many
-- children), that id}; {'old', 'worker' or 'reaper'} when one of the release before lives, which tells no children, and
-- {'old', the same, 'webhook'} when it tells no webhook;
-- {'names', one of them} when too many names of limits are alive, see parts/names.lua;
-- {'types'} when the queue holds jobs of too many types that nobody handles; {'full', ...} when too many wait, see parts/room.lua;
-- {'number', the queue's own, or '' where it has none yet} when nothing was looked at because the ids may carry a wrong one.
local idem, fingerprint, n = ARGV[1], ARGV[2], tonumber(ARGV[3])
local ID, PRIORITY, DUE, UNIQUE, TAGS, PAIRS, FIELDS = 0, 1, 2, 3, 4, 5, 6 -- from where a job starts in ARGV
local PLUS = 43
local now = now_ms()
local now_text = digits(now)

local meta = call('HMGET', key('meta'), 'bells', 'gates', 'number', 'rev', 'fair', 'max_queued')
local number = meta[3]
if number ~= ARGV[4] and (number or not string.find(ARGV[5], 'r', 1, true)) then return { 'number', number or '' } end

local starts, keys, existing, keyed, at = {}, {}, {}, false, 10
for i = 1, n do
  starts[i], keys[i], existing[i] = at, key('job:' .. ARGV[at]), ''
  keyed = keyed or ARGV[at + FIELDS] == 'fair_key'
  at = at + FIELDS + 2 * ARGV[at + PAIRS]
end

local record, whole = ARGV[6], ARGV[7]
local remembered = record ~= '' and call('GET', record)
if remembered and remembered ~= whole then return { 'conflict' } end
if idem ~= '' then
  local seen = call('HGET', key('idem:' .. idem), 'request')
  if seen and seen ~= fingerprint then return { 'conflict' } end
  if seen then
    for i = 1, n do existing[i] = call('HGET', key('idem:' .. idem), 'stood_for:' .. i) or '' end
    return { 'replayed', now_text, -1, existing }
  end
end
if call('EXISTS', unpack(keys)) > 0 then
  for i, job in ipairs(starts) do
    local stood_for = ARGV[job + UNIQUE] ~= '' and call('EXISTS', keys[i]) == 0
    existing[i] = stood_for and call('GET', key('unique:' .. ARGV[job + UNIQUE])) or ''
  end
  return { 'replayed', now_text, -1, existing }
end
local named, new = {}, 0 -- named: unique key -> who has it
for i, job in ipairs(starts) do
  local unique = ARGV[job + UNIQUE]
  if unique ~= '' then
    local holder = named[unique] or call('GET', key('unique:' .. unique))
    if holder and (named[unique] or lives(holder)) then existing[i] = holder else named[unique] = ARGV[job] end
  end
  if existing[i] == '' then new = new + 1 end
end
if ARGV[5] ~= '' and string.find(ARGV[5], 'w', 1, true) then
  local old = writes_none(now, KIT_LIVES_MS)
  if old then return { 'old', old, 'webhook' } end
end

local waits, refused
if ARGV[at] then -- there are references
  local old = old_program(now)
  if old then return { 'old', old } end
  waits, refused = read_references(ARGV, at, starts, existing)
  if refused then return refused end
end

local full = meta[6] and new > 0 and no_room(tonumber(meta[6]), new, ARGV[9], now)
if full then return full end
local crowded = meta[2] == '2' and new > 0 and string.find(ARGV[5], 'l', 1, true) and no_name_left(ARGV, starts, existing)
if crowded then return crowded end

if ARGV[8] ~= '' then
  local STRANGE_MOST, types, strange = 1000, {}, {}
  for job_type in string.gmatch(ARGV[8], '%S+') do types[#types + 1] = job_type end
  for i, known in ipairs(call('SMISMEMBER', key('strange'), unpack(types))) do
    if known == 0 then strange[#strange + 1] = types[i] end
  end
  if #strange > 0 then
    if call('SCARD', key('strange')) + #strange > STRANGE_MOST then return { 'types' } end
    call('SADD', key('strange'), unpack(strange))
  end
end

local seq = call('HINCRBY', key('meta'), 'seq', new) - new
if record ~= '' and not remembered then call('SET', record, whole, 'PX', IDEMPOTENCY_MS) end
if not number then call('HSET', key('meta'), 'number', ARGV[4]) end
if new > 0 then count('submitted', new, now) end
local queued, scheduled, fair = {}, {}, (meta[5] or keyed) and { on = meta[5], rounds = {} }
for i, job in ipairs(starts) do
  if existing[i] == '' then
    local id, said, within = ARGV[job + ID], ARGV[job + DUE], nil
    local due = tonumber(said)
    if not due and said ~= '' then
      said, within = string.match(said, '^(.*)/(.*)$')
      due = tonumber(said)
    end
    if due and string.byte(said) == PLUS then due = now + due end
    seq = seq + 1
    local score = place_of(ARGV[job + PRIORITY], seq)
    local first, last = job + FIELDS, job + FIELDS + 2 * ARGV[job + PAIRS] - 1
    local wait = waits and waits[i]
    if wait then
      wait.id, wait.born, wait.due = id, seq, said
    end
    if wait and wait.needs > 0 then
      call('HSET', keys[i], 'status', 'blocked', 'score', score, 'created', now_text, unpack(ARGV, first, last))
    elseif due and due > now then
      local at_ms = digits(due)
      call('HSET', keys[i], 'status', 'scheduled', 'score', score, 'created', now_text, 'due', at_ms, unpack(ARGV, first, last))
      scheduled[#scheduled + 1], scheduled[#scheduled + 2] = at_ms, id
    else
      if fair then
        local fair_key = ARGV[first] == 'fair_key' and ARGV[first + 1] or ''
        score = turn_of(fair, score, fair_key, seq)
      end
      call('HSET', keys[i], 'status', 'queued', 'score', score, 'created', now_text, unpack(ARGV, first, last))
      queued[#queued + 1], queued[#queued + 2] = score, id
    end
    if within then
      call('HSET', keys[i], 'expires_ms', within)
      if not (wait and wait.needs > 0) then may_start_until(id, digits(now + within)) end
    end
    if ARGV[job + UNIQUE] ~= '' then
      call('HSET', keys[i], 'unique', ARGV[job + UNIQUE])
      call('SET', key('unique:' .. ARGV[job + UNIQUE]), id)
    end
    if ARGV[job + TAGS] ~= '' then
      local status = wait and wait.needs > 0 and 'blocked' or due and due > now and 'scheduled' or 'queued'
      call('HSET', keys[i], 'tags', ARGV[job + TAGS], 'tallied', status)
      TAGGED[id] = { ARGV[job + TAGS], false, status }
      for tag in string.gmatch(ARGV[job + TAGS], '%S+') do call('ZADD', key('tag:' .. tag), now_text, id) end
    end
  end
end
if #scheduled > 0 then call('ZADD', key('scheduled'), unpack(scheduled)) end
if #queued > 0 then call('ZADD', key('queue'), unpack(queued)) end
if waits then write_edges(waits, now_text) end
if next(TAGGED) then pcall(count_tags, TAGGED, now) end
if idem ~= '' then
  call('HSET', key('idem:' .. idem), 'request', fingerprint, 'jobs', new)
  for i, id in ipairs(existing) do
    if id ~= '' then call('HSET', key('idem:' .. idem), 'stood_for:' .. i, id) end
  end
  if new == 0 then call('PEXPIRE', key('idem:' .. idem), IDEMPOTENCY_MS) end
end
if meta[4] then
  local stored = {}
  for i, job in ipairs(starts) do
    if existing[i] == '' then stored[ARGV[job + ID]] = true end
  end
  mark(meta[4], now, stored)
end
ring(meta)
local position = -1
if n == 1 and #queued > 0 then
  position = call('ZRANK', key('queue'), ARGV[starts[1]])
  if meta[2] then position = position + call('ZCOUNT', key('held'), '-inf', '(' .. queued[1]) end
end
if new == n and not waits then return now_text .. ' ' .. digits(position) end
local needs = waits and {}
for i = 1, waits and n or 0 do needs[i] = waits[i] and waits[i].needs or 0 end
return { 'stored', now_text, position, existing, needs }
