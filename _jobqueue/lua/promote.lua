-- needs: prelude places waiting fair idle tags marks
-- Moves due jobs from `scheduled` to `queue`, at the place assigned on submit. While fair keys take turns, a job that has not run
-- yet gets its turn now.
-- KEYS  1 prefix
-- ARGV  1 most jobs to move   2 lease in ms of the reaper's own setting, 0 when unknown
-- Returns how many ids it took from `scheduled`: as many as asked for means that more may be due. Also notes that a reaper lives,
-- and the greatest age of the oldest waiting job in this minute.
local now = now_ms()
local ids = call('ZRANGEBYSCORE', key('scheduled'), '-inf', digits(now), 'LIMIT', 0, ARGV[1])
local due, keyed = {}, false -- keyed: one of them begins to take turns, and so do all that come with it
for _, id in ipairs(ids) do
  local f = call('HMGET', key('job:' .. id), 'status', 'score', 'tallied', 'fair_key', 'started')
  if f[1] == 'scheduled' and f[2] then
    due[#due + 1] = { id, f[2], f[4], new = not f[5] }
    keyed = keyed or f[4] and not f[5]
    if f[3] then TAGGED[id] = true end
  end
end
if #ids > 0 then call('ZREM', key('scheduled'), unpack(ids)) end
local meta, queued, promoted = call('HMGET', key('meta'), 'bells', 'gates', 'rev', 'fair', 'about', 'turns_ended'), {}, {}
local fair = { on = meta[4], over = not keyed and meta[6], rounds = {} }
for _, d in ipairs(due) do
  if d.new and (fair.on or fair.over or keyed) then
    d[2] = turn_of(fair, d[2], d[3] or '', call('HINCRBY', key('meta'), 'seq', 1))
    call('HSET', key('job:' .. d[1]), 'status', 'queued', 'score', d[2])
  else
    call('HSET', key('job:' .. d[1]), 'status', 'queued')
  end
  queued[#queued + 1], queued[#queued + 2], promoted[d[1]] = d[2], d[1], true
end
if #queued > 0 then call('ZADD', key('queue'), unpack(queued)) end
if next(TAGGED) then pcall(count_tags, TAGGED, now) end
call('HDEL', key('meta'), 'reaper') -- a first write that a full Redis allows
call('HSET', key('meta'), 'reaper', digits(now), 'reaper_lease', ARGV[2], 'tells', digits(now), 'hooks', digits(now))
if not meta[5] then -- every script looks up several fields here; in a list, as Redis keeps a small hash, each costs it a walk
  call('HSET', key('meta'), 'about', 'What holds for this queue. Redis keeps a hash with a text of more than 64 bytes as a table.')
end
if fair.on then drop_idle(place_of) end
local since, minute = waiting_since(now, fair.on), minute_key(now)
local noted = since and call('HGET', minute, 'oldest_ms')
if since and now - since > tonumber(noted or -1) then
  call('HSET', minute, 'oldest_ms', digits(now - since))
  if not noted then call('EXPIRE', minute, STATS_KEPT_S) end
end
if meta[3] then mark(meta[3], now, promoted) end
ring(meta)
return #ids
