-- needs: prelude
-- Reads what dead letters have failed with, newest first.
-- KEYS  1 prefix
-- ARGV  1 kind, '' for jobs by their ids   2 how many of the kind to pass over   3 most to answer   4... ids
-- Returns for each {id, when it failed or '', its type, the beginning of its last error or ''}.
local BEGINNING = 800 -- bytes
local rows = {}

local function add(id, at)
  local f = call('HMGET', key('job:' .. id), 'type', 'errors')
  local record = f[2] and call('HGET', key('job:' .. id), 'error:' .. f[2]) or ''
  rows[#rows + 1] = { id, at, f[1] or '', string.sub(record, 1, BEGINNING) }
end

if ARGV[1] == '' then
  for i = 4, #ARGV do add(ARGV[i], '') end
else
  local ids = call('ZREVRANGE', key('kind:' .. ARGV[1]), ARGV[2], ARGV[2] + ARGV[3] - 1, 'WITHSCORES')
  for i = 1, #ids, 2 do add(ids[i], ids[i + 1]) end
end
return rows
