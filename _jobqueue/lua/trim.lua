-- needs: prelude kinds erase
-- Deletes ended jobs that are past their retention, hash and index together. The hash of one that the record lacks is renamed.
-- KEYS  1 prefix
-- ARGV  1 index: done, failed or cancelled   2 retention in ms   3 most jobs to delete
-- Returns how many ids it took from the index.
local index = ARGV[1]
local now = now_ms()
local ids = call('ZRANGEBYSCORE', key(index), '-inf', digits(now - tonumber(ARGV[2])), 'LIMIT', 0, ARGV[3])
if #ids == 0 then return 0 end
local old = {}
for _, id in ipairs(ids) do
  local job = traces_of(id)
  if job.status == index then old[id] = job end
end

local rev = next(old) and call('HGET', key('meta'), 'rev')
call('ZREM', key(index), unpack(ids))
local n = 0
for id, job in pairs(old) do
  erase(id, job, now, rev and call('ZSCORE', key('unsaved'), id) and 'trimmed')
  n = n + 1
end
if n > 0 then count('trimmed', n, now) end
return #ids
