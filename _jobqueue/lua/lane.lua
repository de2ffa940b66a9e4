-- needs: prelude lanes
-- Finds, and on demand puts right, what a side lane and its entry in `lanes` must not be. A type that is no name of a lane any
-- more leaves `lanes`.
-- KEYS  1 prefix
-- ARGV  1 type   2 1 to put it right   3... ids that stand in the lane
-- Returns {1 when its entry in `lanes` is wrong, those ids that are not parked}.
local job_type, strays = ARGV[1], {}
for i = 3, #ARGV do
  local stands = call('ZSCORE', key('lane:' .. job_type), ARGV[i])
  if stands and call('ZSCORE', key('held'), ARGV[i]) ~= stands then strays[#strays + 1] = ARGV[i] end
end
local head = call('ZRANGE', key('lane:' .. job_type), 0, 0, 'WITHSCORES')[2]
local other = call('ZRANGE', key('groups:' .. job_type), 0, 0, 'WITHSCORES')[2]
if other and not (head and tonumber(head) <= tonumber(other)) then head = other end
if call('SISMEMBER', key('pauses'), job_type) == 1 or call('ZSCORE', key('shut'), 'type:' .. job_type) then head = nil end
local wrong = (head or false) ~= call('ZSCORE', key('lanes'), job_type)
if ARGV[2] == '1' then
  for _, id in ipairs(strays) do call('ZREM', key('lane:' .. job_type), id) end
  refresh_lane(job_type)
end
return { wrong and 1 or 0, strays }
