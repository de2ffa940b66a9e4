-- needs: prelude
-- Reads the kinds of error among the dead letters.
-- KEYS  1 prefix
-- Returns for each {kind, how many, the latest's id, when it failed, its type, the beginning of its last error or '', when the oldest failed}.
local BEGINNING = 1000 -- bytes
local rows = {}
for _, kind in ipairs(call('SMEMBERS', key('kinds'))) do
  local latest = call('ZREVRANGE', key('kind:' .. kind), 0, 0, 'WITHSCORES')
  if latest[1] then
    local f = call('HMGET', key('job:' .. latest[1]), 'type', 'errors')
    local record = f[2] and call('HGET', key('job:' .. latest[1]), 'error:' .. f[2]) or ''
    local n = call('ZCARD', key('kind:' .. kind))
    local oldest = call('ZRANGE', key('kind:' .. kind), 0, 0, 'WITHSCORES')[2]
    rows[#rows + 1] = { kind, n, latest[1], latest[2], f[1] or '', string.sub(record, 1, BEGINNING), oldest }
  end
end
return rows
