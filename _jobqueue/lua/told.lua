-- needs: prelude
-- Finds the deliveries of a job's webhook.
-- KEYS  1 prefix
-- ARGV  1 the job's id   2 most deliveries
-- Returns their ids, the latest first; false when there is no such job.
local LOOKS = 1000 -- at its children, the others being those of a workflow
local found, most = {}, tonumber(ARGV[2])
if call('EXISTS', key('job:' .. ARGV[1])) == 0 then return false end
for _, child in ipairs(call('ZRANGEBYSCORE', key('then:' .. ARGV[1]), '-inf', '(0', 'LIMIT', 0, LOOKS)) do
  if #found == most then break end
  if call('HGET', key('job:' .. child), 'type') == 'jobqueue.webhook' then found[#found + 1] = child end
end
return found
