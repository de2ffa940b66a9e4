-- Parked jobs: queued, but not in `queue`, because a worker came by that may not run them. Each stands in `held` and in the side
-- lane of its type, at the score that it had. `lanes` has the first score of each lane that is open: one whose type is paused
-- is closed. So a lane is closed and opened, and its jobs are not moved.

local DEFAULT_TYPE = 'echo' -- of a job whose hash names none

-- To be called when a lane has changed.
local function refresh_lane(job_type)
  local head = call('ZRANGE', key('lane:' .. job_type), 0, 0, 'WITHSCORES')
  if head[1] and call('SISMEMBER', key('pauses'), job_type) == 0 then
    call('ZADD', key('lanes'), head[2], job_type)
  else
    call('ZREM', key('lanes'), job_type)
  end
end
