-- needs: prelude
-- Counts dead letters by type. Of many it looks at some that are evenly spread.
-- KEYS  1 prefix
-- ARGV  1 most dead letters to look at
-- Returns {how many there are, how many it looked at, type, how many of them ...}.
local all, most, found, answer = call('ZCARD', key('failed')), tonumber(ARGV[1]), {}, {}
local looks = math.min(all, most)
local ids = all <= most and call('ZRANGE', key('failed'), 0, -1)
for i = 1, looks do
  local at = math.floor((i - 1) * all / looks)
  local id = ids and ids[i] or call('ZRANGE', key('failed'), at, at)[1] or ''
  local job_type = call('HGET', key('job:' .. id), 'type') or ''
  found[job_type] = (found[job_type] or 0) + 1
end
answer[1], answer[2] = all, looks
for name, n in pairs(found) do answer[#answer + 1], answer[#answer + 2] = name, n end
return answer
