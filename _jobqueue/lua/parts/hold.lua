-- How much may wait for the record.

-- Gives up the oldest marks above `hold` of meta, `most` of them. It uses no local of the file: most calls give up none.
local function give_up(hold, now, most)
  local n = math.min(redis.call('ZCARD', KEYS[1] .. 'unsaved') - hold, most)
  if n <= 0 then return 0 end
  local ids, gone = redis.call('ZRANGE', KEYS[1] .. 'unsaved', 0, n - 1), {}
  for i, id in ipairs(ids) do gone[i] = KEYS[1] .. 'gone:' .. id end
  redis.call('ZREM', KEYS[1] .. 'unsaved', unpack(ids)) -- a first write that a full Redis allows
  redis.call('HDEL', KEYS[1] .. 'aside', unpack(ids))
  redis.call('UNLINK', unpack(gone))
  count('unrecorded', n, now)
  return n
end
