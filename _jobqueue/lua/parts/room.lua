-- seldom
-- Admission: how many jobs of a queue may wait, `max_queued` of meta. What waits already may always run again, whatever is full.

-- Asks for room for new jobs. Returns nil when there is some; else what submit.lua answers: {'full', max_queued, how many wait,
-- how many were to be added, now, jobs that have ended in each of the last minutes, this one first}. `more`: '', or
-- '<name> <n>' of a request of which n jobs are still to come in scripts of their own: for those the room is kept, in `reserved`,
-- a hash: name -> '<n> <until when>'.
local function no_room(max_queued, new, more, now)
  local KEPT_MS, MINUTES = 10000, 6
  local name, to_come = string.match(more, '^(%S+) (%d+)$')
  local kept, waiting, is_kept = call('HGETALL', key('reserved')), 0, false
  for _, index in ipairs({ 'queue', 'held', 'scheduled', 'blocked' }) do waiting = waiting + call('ZCARD', key(index)) end
  waiting = waiting - call('ZCOUNT', key('deliveries'), 0, '(inf') -- webhooks that are to be told have room always
  local taken = waiting
  for at = 1, #kept, 2 do
    local n, last = string.match(kept[at + 1], '^(%d+) (%d+)$')
    if tonumber(last) <= now then
      call('HDEL', key('reserved'), kept[at])
    elseif kept[at] == name then
      is_kept = true
    else
      taken = taken + n
    end
  end
  local asked = new + (to_come or 0)
  if not is_kept and taken + asked > max_queued then
    local over = {}
    for ago = 0, MINUTES - 1 do
      local minute, sum = digits(math.floor(now / 60000) - ago), 0
      for _, n in ipairs(call('HMGET', key('stats:' .. minute), 'done', 'failed', 'cancelled')) do sum = sum + (n or 0) end
      over[ago + 1] = sum
    end
    count('turned_away', new, now)
    return { 'full', max_queued, waiting, asked, digits(now), over }
  end
  if to_come and tonumber(to_come) > 0 then
    call('HSET', key('reserved'), name, string.format('%s %d', to_come, now + KEPT_MS))
  elseif is_kept then
    call('HDEL', key('reserved'), name)
  end
end
