-- needs: prelude
-- Counts jobs of an index that match, by status, among a bounded number of those with the highest scores.
-- KEYS  1 prefix
-- ARGV  1 index   2 most jobs to look at   3, 4 only those with a score from the first on and below the second; '' for all
--       5 type or ''   6 kind or ''
-- Returns {how many it has looked at, status, how many ...}.
local since, before = ARGV[3] == '' and '-inf' or ARGV[3], ARGV[4] == '' and '+inf' or '(' .. ARGV[4]
local job_type, kind, found = ARGV[5], ARGV[6], {}
local ids = call('ZREVRANGEBYSCORE', key(ARGV[1]), before, since, 'LIMIT', 0, ARGV[2])
for _, id in ipairs(ids) do
  local f = call('HMGET', key('job:' .. id), 'status', 'type', 'kind')
  if f[1] and (job_type == '' or f[2] == job_type) and (kind == '' or f[3] == kind) then found[f[1]] = (found[f[1]] or 0) + 1 end
end
local answer = { #ids }
for name, n in pairs(found) do answer[#answer + 1], answer[#answer + 2] = name, n end
return answer
