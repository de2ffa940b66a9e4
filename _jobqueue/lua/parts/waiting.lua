-- The longest wait of the jobs in the queue.

-- Returns when the job that waits longest could first run, nil when none waits; parked ones count. The first of each of the ten
-- priorities is its oldest.
local function waiting_since(now)
  local since
  for _, index in ipairs({ 'queue', 'held' }) do
    local from = '-inf'
    for _ = 1, 10 do
      local first = call('ZRANGEBYSCORE', key(index), from, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
      if not first[1] then break end
      local f = call('HMGET', key('job:' .. first[1]), 'due', 'created')
      since = math.min(since or now, tonumber(f[1] or f[2] or now) or now)
      from = place_of(priority_of(first[2]) - 1, 0)
    end
  end
  return since
end
