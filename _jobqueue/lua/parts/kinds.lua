-- Dead letters by the kind of their last error.

-- Puts a dead letter among those of its kind; `kind` in its hash says where it stands.
local function file_under(kind, id, when)
  local KINDS_KEPT = 200 -- dead letters of any further kind stand together
  if call('SISMEMBER', key('kinds'), kind) == 0 then
    if call('SCARD', key('kinds')) >= KINDS_KEPT then kind = 'other' end
    call('SADD', key('kinds'), kind)
  end
  call('HSET', key('job:' .. id), 'kind', kind)
  call('ZADD', key('kind:' .. kind), when, id)
end

-- Takes it out again. The caller sees to its hash.
local function unfile(kind, id)
  call('ZREM', key('kind:' .. kind), id)
  if call('EXISTS', key('kind:' .. kind)) == 0 then call('SREM', key('kinds'), kind) end
end
