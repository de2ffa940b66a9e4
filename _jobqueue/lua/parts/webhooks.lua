-- seldom
-- Webhooks. Each end of a job that names one makes a job of the type jobqueue.webhook, its delivery. In a job's `also` a w says
-- that it names one, a d that it is a delivery. A delivery is a child of its job whose edge is closed (parts/edges.lua), so its job
-- is kept while it is not over.
--   ends_n              of a job's hash: counts its ends
--   of, n               of a delivery's hash: when its job was submitted, the number of the end
--   deliveries          zset, those that are not over: id -> when it may run; below 0: since when it runs; inf: a dead letter

-- Makes the deliveries of jobs that have just ended. `hooked`: id, status ... Puts the new ids into the set `changed`. Returns how
-- many they are. `turn`: turn_of of parts/fair.lua.
local function write_deliveries(hooked, now, changed, turn)
  local now_text = digits(now)

  -- Follows from the job, its submit and the number of the end; a UUID of version 8, as store/ids.py makes them.
  local function derived_id(job, created, n, queue)
    local hex = redis.sha1hex(job .. ' ' .. created .. ' ' .. n)
    local variant = tonumber(string.sub(hex, 17, 17), 16) % 4 + 1
    return string.format('%s-%s-8%03x-%s%s-%s', string.sub(hex, 1, 8), string.sub(hex, 9, 12), queue,
      string.sub('89ab', variant, variant), string.sub(hex, 18, 20), string.sub(hex, 21, 32))
  end

  local n, queue = #hooked / 2, tonumber(call('HGET', key('meta'), 'number') or 0)
  local seq = call('HINCRBY', key('meta'), 'seq', n) - n
  local fair = { on = call('HGET', key('meta'), 'fair'), rounds = {} }
  for at = 1, #hooked, 2 do
    local job, status = hooked[at], hooked[at + 1]
    local number = call('HINCRBY', key('job:' .. job), 'ends_n', 1)
    local f = call('HMGET', key('job:' .. job), 'created', 'webhook', 'also')
    local id = derived_id(job, f[1] or '0', number, queue)
    seq = seq + 1
    local born = digits(seq)
    local place = fair.on and turn(fair, born, '', seq) or born -- of priority 9
    call('HSET', key('job:' .. id), 'status', 'queued', 'score', place, 'created', now_text, 'type', 'jobqueue.webhook',
      'payload', '{"job":"' .. job .. '",',
      'payload.' .. 1, '"n":' .. number .. ',"status":"' .. status .. '","at":' .. now_text .. '}',
      'webhook', f[2] or '', 'of', f[1] or '0', 'n', number, 'also', 'pd', 'born', born, 'needs', 0, 'after', job, 'when', 'ended')
    call('ZADD', key('queue'), place, id)
    call('ZADD', key('deliveries'), now_text, id)
    call('ZADD', key('then:' .. job), '-' .. born, id)
    if not string.find(f[3], 'c', 1, true) then call('HSET', key('job:' .. job), 'also', f[3] .. 'c') end
    changed[id] = true
  end
  return n
end

-- What has become of a delivery: 'failed', 'done' or 'cancelled'; or when it may run, as text.
local function note_delivery(id, what)
  if what == 'done' or what == 'cancelled' then
    call('ZREM', key('deliveries'), id)
  else
    call('ZADD', key('deliveries'), what == 'failed' and 'inf' or what, id)
  end
end

-- While a queue is paused only deliveries are given out: the one of these that is the next for a kit, or nil. It has left the
-- queue, or its lane. `refresh`: refresh_lane; `room`: of parts/limits.lua where the queue uses limits, else false.
local function next_delivery(kit, now, refresh, room)
  local LOOK, TYPE = 250, 'jobqueue.webhook' -- some of those it looks at are not promoted yet
  if not call('ZSCORE', key('kit:' .. kit), TYPE) or call('SISMEMBER', key('pauses'), TYPE) == 1 then return nil end
  local names = room and room.names_of(TYPE, false)
  if room and room:shut_until(names[1], now, true) then return nil end
  for _, id in ipairs(call('ZRANGEBYSCORE', key('deliveries'), 0, digits(now), 'LIMIT', 0, LOOK)) do
    if call('HGET', key('job:' .. id), 'status') == 'queued' then
      if call('ZREM', key('queue'), id) == 0 then
        call('ZREM', key('held'), id)
        call('ZREM', key('lane:' .. TYPE), id)
        refresh(TYPE)
      end
      local _, rooms = nil, nil
      if room then _, rooms = room:take(id, names, now, call('HGET', key('job:' .. id), 'also'), true) end
      if rooms then call('HSET', key('job:' .. id), 'also', rooms) end
      return id
    end
  end
end

-- Which program of the release before lives that would write no deliveries: 'worker', 'reaper' or nil. `alive_ms`: KIT_LIVES_MS.
local function writes_none(now, alive_ms)
  for _, worker in ipairs(call('ZRANGEBYSCORE', key('workers'), now - alive_ms, '+inf')) do
    local info = call('GET', key('worker:' .. worker))
    if info and not string.find(info, '"webhooks":', 1, true) then return 'worker' end
  end
  local reaper = call('HMGET', key('meta'), 'reaper', 'hooks')
  if now - (reaper[1] or 0) < alive_ms and now - (reaper[2] or 0) >= alive_ms then return 'reaper' end
end
