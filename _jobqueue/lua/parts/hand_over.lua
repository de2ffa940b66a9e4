-- seldom hand_over
-- A permit goes from a job that has ended to the next that waits for it, in one call. Its limit is full before and after that, so it
-- stays shut, and nobody is called.

-- Takes that job out of its lane, with all permits that it needs. Returns it, its id and when its lease ends. Nil, and nothing has
-- changed, when its score is not below `best`, which room.freed_at tells then, or it may not run, or this is not so simple.
-- `room.freed` stays where others may start too. `args`: of exchange.lua.
local function hand_over(room, args, now, best)
  local name = room.freed[1]
  local waits = call('SMEMBERS', key('waits:' .. name))
  local job_type = waits[1]
  if not job_type or waits[2] or job_type == 'jobqueue.webhook' then return nil end
  local group = job_type .. ' ' .. name
  local head = call('ZRANGE', key('group:' .. group), '0', '0', 'WITHSCORES')
  local lane, score = head[1], head[2]
  if not lane then return nil end
  if tonumber(score) >= best then
    room.freed_at = tonumber(score)
    return nil
  end
  local two = call('ZRANGE', key('lane:' .. lane), '0', '1', 'WITHSCORES')
  local timeout_ms = call('ZSCORE', key('kit:' .. args[10]), job_type)
  if two[2] ~= score or not timeout_ms or call('SISMEMBER', key('pauses'), job_type) == 1 then return nil end
  local id = two[1]
  local job = job_of(id, call('HGETALL', key('job:' .. id)))
  if not job or job.status ~= 'queued' then return nil end

  local names = room.names_of(job_type, string.sub(lane, #job_type + 2))
  room:look_up(names)
  local limit = room.known[name]
  if not limit or limit.max == 0 or call('ZSCORE', key('shut'), names[1]) then return nil end
  for i = 1, #names do
    if room:shut_until(names[i], now, true) then return nil end
  end
  call('ZREM', key('held'), id)
  call('ZREM', key('lane:' .. lane), id)
  room.freed = limit.running + 1 < limit.max and room.freed
  if two[3] then
    call('ZADD', key('group:' .. group), two[4], lane)
  else
    call('ZREM', key('group:' .. group), lane)
    call('HDEL', key('under'), lane)
    if call('EXISTS', key('group:' .. group)) == 0 then -- nobody waits any more
      call('SREM', key('waits:' .. name), job_type)
      call('ZREM', key('shut'), name)
      room.freed = false
    end
  end
  local _, rooms = room:take(id, names, now, job.also, true, name)
  if rooms then call('HSET', key('job:' .. id), 'also', rooms) end
  return job, id, digits(lease_end(now, tonumber(args[5]), tonumber(job.timeout_ms or timeout_ms)))
end
