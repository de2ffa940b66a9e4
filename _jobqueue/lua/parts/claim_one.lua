-- seldom claim_one
-- The claim of one job in a queue that uses limits, while nobody waits aside: most of what limits cost is what the other claim has to
-- make first.

-- Takes the first job of the queue, with the permit of the one limit that it may be under. Returns it and when its lease ends. Nil, and
-- nothing has changed, when it may not run, or this is not so simple. `args`: of exchange.lua. `want`: where that is more than
-- one, it takes only a job under a limit, for that is the last of its batch.
local function claim_one(args, now, want)
  local id = call('ZRANGE', key('queue'), '0', '0')[1]
  local job = id and job_of(id, call('HGETALL', key('job:' .. id)))
  if not job or job.status ~= 'queued' or job.type == 'jobqueue.webhook' then return nil end
  local type_name, name = 'type:' .. (job.type or DEFAULT_TYPE), job.limits
  local timeout_ms = call('ZSCORE', key('kit:' .. args[10]), job.type or DEFAULT_TYPE)
  if not timeout_ms or name and string.find(name, ' ', 1, true) then return nil end
  local texts = call('HMGET', key('limits'), ' ', type_name, name or type_name)
  if name and texts[2] then return nil end
  local text, longest = texts[3], -1
  if texts[1] then -- there are patterns
    local flat = call('HGETALL', key('patterns'))
    for at = 1, #flat, 2 do
      local length = #flat[at] - 1
      local start = string.sub(flat[at], 1, length)
      if not texts[2] and string.sub(type_name, 1, length) == start then return nil end
      if name and not texts[3] and length > longest and string.sub(name, 1, length) == start then text, longest = flat[at + 1], length end
    end
  end
  if not text and want > 1 then return nil end
  if text then
    local letter = name and 'l' or 'y'
    name = name or type_name
    local max, starts, per_s = string.match(text, '^(%d+) (%d+) (%d+) %-$') -- not while it counts what runs
    if not max then return nil end
    if starts ~= '0' then
      local first = call('LINDEX', key('starts:' .. name), starts - 1)
      if first and first + per_s * 1000 >= now then return nil end
    end
    local running = (max ~= '0' or longest >= 0) and call('SCARD', key('permits:' .. name))
    if max ~= '0' and running >= tonumber(max) then return nil end
    if running == 0 and longest >= 0 then call('ZADD', key('limited'), '0', name) end
    call('SADD', key('permits:' .. name), id)
    if starts ~= '0' and call('LPUSH', key('starts:' .. name), digits(now)) > tonumber(starts) then
      call('LTRIM', key('starts:' .. name), '0', starts - 1)
    end
    local also = job.also or ''
    if also ~= letter and not string.find(also, letter, 1, true) then call('HSET', key('job:' .. id), 'also', also .. letter) end
  end
  call('ZREM', key('queue'), id)
  return job, digits(lease_end(now, tonumber(args[5]), tonumber(job.timeout_ms or timeout_ms)))
end
