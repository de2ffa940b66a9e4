-- seldom
-- Jobs with a time for their first start. `expires`, a zset, has those that have not started -> until when they may. They enter it
-- with their submit, release or retry, and leave it with their claim. `expires` of meta is 1 while there may be any: others pay
-- nothing. In a hash, `expires_ms` is what the submit said, and `expires` that time. No local of the file is used here.

local function may_start_until(id, at)
  redis.call('HSET', KEYS[1] .. 'job:' .. id, 'expires', at)
  redis.call('ZADD', KEYS[1] .. 'expires', at, id)
  redis.call('HSET', KEYS[1] .. 'meta', 'expires', '1')
end

-- It will not start, for another reason. Allowed by a full Redis.
local function never_starts(id)
  if redis.call('ZREM', KEYS[1] .. 'expires', id) == 1 then redis.call('HDEL', KEYS[1] .. 'job:' .. id, 'expires') end
end

-- Returns a job of `expires` if it waits and has never started; else nil.
local function unstarted(id)
  local f = redis.call('HMGET', KEYS[1] .. 'job:' .. id, 'status', 'attempts', 'snoozes', 'expires_ms', 'errors', 'also',
    'tallied')
  if f[1] ~= 'queued' and f[1] ~= 'scheduled' or (f[2] or '0') ~= '0' or f[3] then return nil end
  return { id = id, status = f[1], expires_ms = f[4], errors = f[5], also = f[6] or nil, tallied = f[7] }
end

-- Cancels such a job, which has left all indexes. finish, changed: as of tell_children.
local function expire(job, now, finish, changed)
  local ERRORS_KEPT = 100
  local now_text, number = string.format('%d', now), (tonumber(job.errors) or 0) + 1
  local message = 'it had not started within ' .. string.format('%.10g', (job.expires_ms or 0) / 1000) .. ' s'
  redis.call('HDEL', KEYS[1] .. 'job:' .. job.id, 'expires', 'error:' .. string.format('%d', number - ERRORS_KEPT))
  changed[job.id] = true
  finish(job, 'cancelled', now_text, 'errors', string.format('%d', number), 'error:' .. string.format('%d', number),
    now_text .. ' 0 expired - -\n' .. message)
end
