-- needs: prelude places
-- Finds, and on demand puts right, what is wrong with the turns of fair keys (see parts/fair.lua).
-- KEYS  1 prefix
-- ARGV  1 1 to put it right   2... ids of jobs that wait
-- Returns {1 when there are turns while none are taken, or none while they are;
--   some entries that are kept though their keys were idle when a reaper last dropped such;
--   those ids whose key has no turn there;   those behind the number of the last submit}.
local SHOWN, repair = 100, ARGV[1] == '1'
local meta = call('HMGET', key('meta'), 'fair', 'seq')
local there = call('EXISTS', key('turns')) == 1
local idle, lost, behind = {}, {}, {}
local wrong = not meta[1] ~= not there
if wrong and repair then
  call('DEL', key('turns'))
  call('HDEL', key('meta'), 'fair')
  call('HSET', key('meta'), 'turns_ended', '1')
end

for priority = 0, 9 do
  local round = wrong and repair and call('HGET', key('rounds'), priority)
  if round then
    call('HSET', key('rounds'), priority .. ' was', round)
    call('HDEL', key('rounds'), priority, priority .. ' swept')
  end
  local swept = there and call('HGET', key('rounds'), priority .. ' swept')
  local bottom = '(' .. place_of(priority, 0)
  local kept = swept and call('ZRANGEBYSCORE', key('turns'), bottom, swept, 'LIMIT', 0, SHOWN) or {}
  for _, member in ipairs(kept) do idle[#idle + 1] = member end
  if repair and #kept > 0 then call('ZREM', key('turns'), unpack(kept)) end
end
for i = 2, there and #ARGV or 1 do
  local f = call('HMGET', key('job:' .. ARGV[i]), 'status', 'score', 'fair_key', 'started')
  local place = f[1] == 'queued' and tonumber(f[2])
  local priority = place and priority_of(place)
  local round = place and call('HGET', key('rounds'), priority)
  if round and place > tonumber(round) and not f[4] then -- what has started before turns began comes back at its number
    local member = priority .. ' ' .. (f[3] or '')
    if place > (tonumber(call('ZSCORE', key('turns'), member)) or 0) then
      lost[#lost + 1] = ARGV[i]
      if repair then call('ZADD', key('turns'), f[2], member) end
    end
  end
  if place and place > tonumber(place_of(priority, meta[2] or 0)) then
    behind[#behind + 1] = ARGV[i]
    if repair then
      meta[2] = digits(place - place_of(priority, 0))
      call('HSET', key('meta'), 'seq', meta[2])
    end
  end
end
return { wrong and 1 or 0, idle, lost, behind }
