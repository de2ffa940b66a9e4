-- The longest wait of the jobs in the queue.

-- Returns when the job that waits longest could first run, nil when none waits; parked ones count. The first of each of the ten
-- priorities is its oldest; where `fair` keys take turns, one of the first few is.
local function waiting_since(now, fair)
  local since, few = nil, fair and 50 or 1
  for _, index in ipairs({ 'queue', 'held' }) do
    local from = '-inf'
    for _ = 1, 10 do
      local first = call('ZRANGEBYSCORE', key(index), from, '+inf', 'WITHSCORES', 'LIMIT', 0, few)
      if not first[1] then break end
      from = place_of(priority_of(first[2]) - 1, 0)
      for at = 1, #first, 2 do
        if at > 1 and tonumber(first[at + 1]) >= tonumber(from) then break end
        local f = call('HMGET', key('job:' .. first[at]), 'due', 'created')
        since = math.min(since or now, tonumber(f[1] or f[2] or now) or now)
      end
    end
  end
  return since
end
