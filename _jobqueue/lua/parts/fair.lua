-- seldom
-- Fairness: within a priority, jobs of different fair keys take turns. A job's place (see places.lua) is then not the number of
-- its submit but a round, in which each key has one job at most. Jobs without a key have the key '' together.
--   turns               zset: '<priority> <key>' -> the last place that the key was given, while that is ahead
--   rounds              hash: priority -> the greatest place that was claimed
--   fair                of meta: 1 while a key other than '' is ahead. Else `turns` is not there, and '<priority> was' in `rounds`
--     says how far its rounds had come: jobs of keys that come back at their places are not ahead.
--   turns_ended         of meta: 1 once turns have ended. A job without a key whose submit was before that, and which may run later,
--     gets its number anew: at its old one it would stand in front of all rounds to come, and never take turns.

-- Returns the place of a job that may run for the first time. It is the next round in which jobs wait, behind the last one claimed
-- and the last one of its key; else a new round. New rounds come behind all others, so nobody gets between a job and its turn.
--   old                 a place of its priority
--   number              a new one, as a submit gets it, which the round never exceeds
--   fair                {on, over = those fields of meta, rounds = {}}, one table for all jobs of a script; `over` only where
--     the job may have been submitted long ago
local function turn_of(fair, old, fair_key, number)
  local priority = priority_of(old)
  local bottom, top = '(' .. place_of(priority, 0), '(' .. place_of(priority - 1, 0)

  -- The place of the first job of the priority that waits behind `from`; nil when there is none.
  local function first_behind(from)
    local queued = call('ZRANGEBYSCORE', key('queue'), from, top, 'WITHSCORES', 'LIMIT', 0, 1)[2]
    local parked = call('ZRANGEBYSCORE', key('held'), from, top, 'WITHSCORES', 'LIMIT', 0, 1)[2]
    return queued and math.min(queued, parked or queued) or tonumber(parked)
  end

  local function last_of_all()
    local queued = call('ZREVRANGEBYSCORE', key('queue'), top, bottom, 'WITHSCORES', 'LIMIT', 0, 1)[2]
    local parked = call('ZREVRANGEBYSCORE', key('held'), top, bottom, 'WITHSCORES', 'LIMIT', 0, 1)[2]
    return queued and math.max(queued, parked or queued) or tonumber(parked)
  end

  if not fair.on and fair.over and fair_key == '' then
    local was = call('HGET', key('rounds'), priority .. ' was')
    return was and tonumber(old) <= tonumber(was) and place_of(priority, number) or old
  end
  if not fair.on then
    call('HSET', key('meta'), 'fair', '1')
    fair.on = '1'
  end
  local round = fair.rounds[priority] or tonumber(call('HGET', key('rounds'), priority))
  if not round then -- the first turn here: what waits was queued without turns, and has the common key
    local last, was = last_of_all(), call('HGET', key('rounds'), priority .. ' was') or 0
    round = math.max(was, last and first_behind(bottom) - 1 or place_of(priority, number - 1))
    call('HSET', key('rounds'), priority, digits(round))
    if last then call('ZADD', key('turns'), digits(last), priority .. ' ') end
  end
  fair.rounds[priority] = round

  local member = priority .. ' ' .. fair_key
  local last = tonumber(call('ZSCORE', key('turns'), member))
  if not last then -- more idle entries leave than new ones come
    local idle = call('ZRANGEBYSCORE', key('turns'), bottom, digits(round), 'LIMIT', 0, 2)
    if #idle > 0 then call('ZREM', key('turns'), unpack(idle)) end
  end
  local behind = math.max(round, last or 0)
  local place = digits(first_behind('(' .. digits(behind)) or behind + 1)
  call('ZADD', key('turns'), place, member)
  return place
end
