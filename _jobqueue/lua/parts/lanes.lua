-- seldom limits
-- Parked jobs: queued, but not in `queue`, because a worker came by that may not run them. Each stands in `held` and in the side
-- lane of its type, at the score that it had. `lanes` has the first score of each lane that is open: one whose type is paused
-- is closed. So a lane is closed and opened, and its jobs are not moved.

local DEFAULT_TYPE = 'echo' -- of a job whose hash names none

-- To be called when a lane has changed. `plain`: the queue uses no limits. Where it does (parts/limits.lua), a type has more lanes,
-- which have the first of their scores in groups:<type>, and may itself be shut.
local function refresh_lane(job_type, plain)
  local head = call('ZRANGE', key('lane:' .. job_type), '0', '0', 'WITHSCORES')
  local other = plain and {} or call('ZRANGE', key('groups:' .. job_type), '0', '0', 'WITHSCORES')
  if other[1] and not (head[1] and tonumber(head[2]) <= tonumber(other[2])) then head = other end
  if not plain and call('ZSCORE', key('shut'), 'type:' .. job_type) then head = {} end
  if head[1] and call('SISMEMBER', key('pauses'), job_type) == 0 then
    call('ZADD', key('lanes'), head[2], job_type)
  else
    call('ZREM', key('lanes'), job_type)
  end
end
