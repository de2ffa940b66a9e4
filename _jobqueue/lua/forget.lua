-- needs: prelude statuses tokens by_type sums
-- Forgets a queue that holds no jobs and has no schedules: its counters, its number, what its workers published. A worker that still serves it stays,
-- with its slots: it goes on when the queue is used again. Idempotency keys end by themselves.
-- KEYS  1 prefix
-- ARGV  1 the greatest age in ms of the last beat of a worker that lives
-- Returns how many jobs and schedules the queue holds, or, below 0, how many of its jobs the record lacks; 0: it is forgotten.
local held = call('ZCARD', key('held')) + call('ZCARD', key('schedules'))
for _, status in ipairs(STATUSES) do held = held + call('ZCARD', key(INDEX[status])) end
if held > 0 then return held end
local unsaved = call('ZCOUNT', key('unsaved'), '(0', '+inf')
if unsaved > 0 then return -unsaved end
local refused = call('ZRANGE', key('unsaved'), 0, -1) -- by the record; there are few

local now, lives = now_ms(), {}
local beats = call('ZRANGE', key('workers'), 0, -1, 'WITHSCORES')
for i = 1, #beats, 2 do
  if now - beats[i + 1] <= tonumber(ARGV[1]) then lives[beats[i]] = true end
end
local slots = call('HKEYS', key('slots'))
local kits = call('ZRANGE', key('kits'), 0, -1)
local limits = call('ZRANGE', key('limited'), 0, -1)

call('DEL', key('meta'), key('totals'), key('kinds'), key('bell'), key('pauses'), key('strange'), key('by_type'), key('counted'),
  key('unsaved'), key('aside'), key('recounts'), key('expires'), key('limited'), key('limits'), key('patterns'), key('counting'),
  key('shut'), key('turns'), key('rounds'), key('reserved'), key('recent')) -- a first write that a full Redis allows
for _, name in ipairs(limits) do call('DEL', key('permits:' .. name), key('starts:' .. name)) end
for _, id in ipairs(refused) do call('DEL', key('gone:' .. id)) end
for ago = 0, STATS_KEPT_S / 60 do call('DEL', minute_key(now - ago * 60000), by_type_key(now - ago * 60000)) end
for ago = 0, SUMS_KEPT_S / 600 do call('DEL', sums_key(now / 60000 - ago * SUM_MINUTES)) end
for _, slot in ipairs(slots) do
  if not lives[worker_of(slot) or ''] then
    call('HDEL', key('slots'), slot)
    call('DEL', key('processing:' .. slot))
  end
end
for i = 1, #beats, 2 do
  if not lives[beats[i]] then
    call('ZREM', key('workers'), beats[i])
    call('DEL', key('worker:' .. beats[i]))
  end
end
if not next(lives) then call('DEL', key('types'), key('backoffs')) end
for _, kit in ipairs(kits) do
  call('DEL', key('bell:' .. kit))
  if not next(lives) then call('DEL', key('kit:' .. kit)) end
end
if not next(lives) then call('DEL', key('kits')) end
return 0
