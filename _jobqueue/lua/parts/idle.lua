-- What the reaper's tick does for fairness.

-- Drops entries of keys that are not ahead any more, see fair.lua, a bounded number, and ends the turns when no key is. Where no
-- job of a priority waits, nobody is ahead of anybody: cancelled jobs may have left such turns.
local function drop_idle(place_of)
  local call, left = redis.call, 250 -- entries that one tick drops
  local rounds = call('HGETALL', KEYS[1] .. 'rounds')
  for at = 1, #rounds, 2 do
    local priority, round = rounds[at], rounds[at + 1]
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
  end
  local common = 0
  for _, last in ipairs(call('ZMSCORE', KEYS[1] .. 'turns', '0 ', '1 ', '2 ', '3 ', '4 ', '5 ', '6 ', '7 ', '8 ', '9 ')) do
    if last then common = common + 1 end
  end
  if call('ZCARD', KEYS[1] .. 'turns') == common then
    call('DEL', KEYS[1] .. 'turns', KEYS[1] .. 'rounds')
    call('HDEL', KEYS[1] .. 'meta', 'fair')
  end
end
