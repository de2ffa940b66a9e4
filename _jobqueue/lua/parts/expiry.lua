-- seldom
-- Jobs with a time for their first start. `expires`, a zset, has those that have not started -> until when they may. They enter it
-- with their submit, release or retry, and leave it with their claim. `expires` of meta is 1 while there may be any: others pay
-- nothing. In a hash, `expires_ms` is what the submit said, and `expires` that time.

local function may_start_until(id, at)
  call('HSET', key('job:' .. id), 'expires', at)
  call('ZADD', key('expires'), at, id)
  call('HSET', key('meta'), 'expires', '1')
end

-- It will not start, for another reason. Allowed by a full Redis.
local function never_starts(id)
  if call('ZREM', key('expires'), id) == 1 then call('HDEL', key('job:' .. id), 'expires') end
end

-- Returns a job of `expires` if it waits and has never started; else nil.
local function unstarted(id)
  local f = call('HMGET', key('job:' .. id), 'status', 'attempts', 'snoozes', 'expires_ms', 'errors', 'also',
    'tallied')
  if f[1] ~= 'queued' and f[1] ~= 'scheduled' or (f[2] or '0') ~= '0' or f[3] then return nil end
  return { id = id, status = f[1], expires_ms = f[4], errors = f[5], also = f[6] or nil, tallied = f[7] }
end

-- Cancels such a job, which has left all indexes. finish, changed: as of tell_children.
local function expire(job, now, finish, changed)
  local ERRORS_KEPT = 100
  local now_text, number = digits(now), (tonumber(job.errors) or 0) + 1
  local message = 'it had not started within ' .. string.format('%.10g', (job.expires_ms or 0) / 1000) .. ' s'
  call('HDEL', key('job:' .. job.id), 'expires', 'error:' .. digits(number - ERRORS_KEPT))
  changed[job.id] = true
  finish(job, 'cancelled', now_text, 'errors', digits(number), 'error:' .. digits(number),
    now_text .. ' 0 expired - -\n' .. message)
end
