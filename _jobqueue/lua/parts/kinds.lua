-- seldom
-- Dead letters by the kind of their last error.

-- Puts a dead letter among those of its kind; `kind` in its hash says where it stands.
local function file_under(kind, id, when)
  local KINDS_KEPT, kinds = 200, KEYS[1] .. 'kinds' -- dead letters of any further kind stand together
  if redis.call('SISMEMBER', kinds, kind) == 0 then
    if redis.call('SCARD', kinds) >= KINDS_KEPT then kind = 'other' end
    redis.call('SADD', kinds, kind)
  end
  redis.call('HSET', KEYS[1] .. 'job:' .. id, 'kind', kind)
  redis.call('ZADD', KEYS[1] .. 'kind:' .. kind, when, id)
end

-- Takes it out again. The caller sees to its hash.
local function unfile(kind, id)
  redis.call('ZREM', KEYS[1] .. 'kind:' .. kind, id)
  if redis.call('EXISTS', KEYS[1] .. 'kind:' .. kind) == 0 then redis.call('SREM', KEYS[1] .. 'kinds', kind) end
end
