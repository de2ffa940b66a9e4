-- needs: prelude statuses
-- All jobs of a tag have been counted, or a program of the release before has removed some. Notes that its counts are whole.
-- KEYS  1 prefix
-- ARGV  1 tag   2 when the count began (ms)   then, unless its counts are right, by status in the order of STATUSES: what it counts
--       as the caller has seen it, and what it should
-- Returns 1 when its counts add up; 0 when they do not, or have changed since.
local hash, jobs = key('tally:' .. ARGV[1]), call('ZCARD', key('tag:' .. ARGV[1]))
local counts, sum = call('HMGET', hash, unpack(STATUSES)), 0
for i = 1, #STATUSES do counts[i] = tonumber(counts[i] or 0) end
for i = 1, ARGV[3] and #STATUSES or 0 do
  if counts[i] ~= tonumber(ARGV[2 + i]) then return 0 end
  counts[i] = tonumber(ARGV[2 + #STATUSES + i])
end
for i = 1, #STATUSES do sum = sum + counts[i] end
if sum ~= jobs then return 0 end
call('HDEL', hash, 'whole') -- a first write that a full Redis allows
if jobs == 0 then
  call('DEL', hash)
else
  for i, status in ipairs(ARGV[3] and STATUSES or {}) do call('HSET', hash, status, counts[i]) end
  call('HSET', hash, 'whole', ARGV[2])
end
call('SREM', key('recounts'), ARGV[1])
return 1
