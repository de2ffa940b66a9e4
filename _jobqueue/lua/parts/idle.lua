-- What the reaper's tick does for fairness.

-- Drops entries of keys that are not ahead any more, see fair.lua, a bounded number, and ends the turns when no key is. Where no
-- job of a priority waits, nobody is ahead of anybody: cancelled jobs may have left such turns. '<priority> swept' in `rounds`: up to
-- where no entry was left; the checker asks for it.
local function drop_idle(place_of)
  local call, IDLE_MOST = redis.call, 250 -- entries that one tick drops
  local left = IDLE_MOST

  local function sweep(priority, round)
    local bottom, top = '(' .. place_of(priority, 0), '(' .. place_of(priority - 1, 0)
    local last = call('ZREVRANGEBYSCORE', KEYS[1] .. 'turns', top, bottom, 'WITHSCORES', 'LIMIT', 0, 1)[2]
    local ahead = last and tonumber(last) > tonumber(round)
    if ahead and call('ZCOUNT', KEYS[1] .. 'queue', bottom, top) + call('ZCOUNT', KEYS[1] .. 'held', bottom, top) == 0 then
      round = last
      call('HSET', KEYS[1] .. 'rounds', priority, round)
    end
    local idle = call('ZRANGEBYSCORE', KEYS[1] .. 'turns', bottom, round, 'LIMIT', 0, left)
    if #idle > 0 then call('ZREM', KEYS[1] .. 'turns', unpack(idle)) end
    left = left - #idle
    if left > 0 then call('HSET', KEYS[1] .. 'rounds', priority .. ' swept', round) end
  end

  for priority = 0, 9 do
    local round = call('HGET', KEYS[1] .. 'rounds', priority)
    if round and left > 0 then sweep(priority, round) end
  end
  local common = 0
  for _, last in ipairs(call('ZMSCORE', KEYS[1] .. 'turns', '0 ', '1 ', '2 ', '3 ', '4 ', '5 ', '6 ', '7 ', '8 ', '9 ')) do
    if last then common = common + 1 end
  end
  if call('ZCARD', KEYS[1] .. 'turns') == common then
    call('DEL', KEYS[1] .. 'turns')
    call('HDEL', KEYS[1] .. 'meta', 'fair')
    call('HSET', KEYS[1] .. 'meta', 'turns_ended', '1')
    for priority = 0, 9 do
      local round = call('HGET', KEYS[1] .. 'rounds', priority)
      if round then call('HSET', KEYS[1] .. 'rounds', priority .. ' was', round) end
      call('HDEL', KEYS[1] .. 'rounds', priority, priority .. ' swept')
    end
  end
end
