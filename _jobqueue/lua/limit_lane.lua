-- needs: prelude lanes limits
-- Finds, and on demand puts right, what a side lane of jobs that name limits must not be.
-- KEYS  1 prefix
-- ARGV  1 lane   2 1 to put it right   3... ids that stand in it
-- Returns {1 when it is not where claims look for it, those ids that are not parked}.
local lane, strays = ARGV[1], {}
local job_type, limits = string.match(lane, '^(%S+) (.+)$')
for i = 3, #ARGV do
  local stands = call('ZSCORE', key('lane:' .. lane), ARGV[i])
  if stands and call('ZSCORE', key('held'), ARGV[i]) ~= stands then strays[#strays + 1] = ARGV[i] end
end
local head, under = call('ZRANGE', key('lane:' .. lane), 0, 0, 'WITHSCORES')[2], call('HGET', key('under'), lane)
local group = key('group:' .. job_type .. ' ' .. (under or ''))
local wrong = (under and true or false) ~= (head and true or false)
if head and under then
  local open = not call('ZSCORE', key('shut'), under)
  wrong = call('ZSCORE', group, lane) ~= head or call('SISMEMBER', key('waits:' .. under), job_type) == 0
    or (call('ZRANGE', group, 0, 0, 'WITHSCORES')[2] == call('ZSCORE', key('groups:' .. job_type), under)) ~= open
end
if ARGV[2] == '1' then
  local room = limits_room(refresh_lane)
  for _, id in ipairs(strays) do call('ZREM', key('lane:' .. lane), id) end
  if head and not under then call('HSET', key('under'), lane, string.match(limits, '^%S+')) end
  under = call('HGET', key('under'), lane)
  if under then
    call('SADD', key('waits:' .. under), job_type)
    room.refresh_lane_of_limits(job_type, lane)
  end
  call('HSETNX', key('meta'), 'gates', '2')
  ring()
end
return { wrong and 1 or 0, strays }
