-- needs: prelude places
-- Counts the jobs of its priority in front of a queued one, and those of them that have its fair key.
-- KEYS  1 prefix
-- ARGV  1 id   2 most jobs to look at in each index
-- Returns {how many have the same key, how many have not}; {} for a job that is not queued.
local f = call('HMGET', key('job:' .. ARGV[1]), 'status', 'score', 'fair_key')
if f[1] ~= 'queued' then return {} end
local same, others, bottom = 0, 0, place_of(priority_of(f[2]), 0)
for _, index in ipairs({ 'queue', 'held' }) do
  for _, id in ipairs(call('ZRANGEBYSCORE', key(index), bottom, '(' .. f[2], 'LIMIT', 0, ARGV[2])) do
    if call('HGET', key('job:' .. id), 'fair_key') == f[3] then same = same + 1 else others = others + 1 end
  end
end
return { same, others }
