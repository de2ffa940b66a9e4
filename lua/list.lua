-- Reads one page of the jobs in a status. Its cost depends on the page alone.
-- KEYS  1 prefix
-- ARGV  1 index   2 'newest' first or 'next' first   3 offset   4 most jobs   5-7 default max_attempts, timeout_ms, backoff_ms
-- Returns {total, jobs: {id, fields and values, offset in the index, max_attempts, timeout_ms, backoff_ms}}.
local index, offset = key(ARGV[1]), tonumber(ARGV[3])
local command = ARGV[2] == 'newest' and 'ZREVRANGE' or 'ZRANGE'
local rows = {}
for i, id in ipairs(call(command, index, offset, offset + tonumber(ARGV[4]) - 1)) do
  local flat = call('HGETALL', key('job:' .. id))
  local job = table_of(flat)
  if job then rows[#rows + 1] = { id, flat, offset + i - 1, policy_of(job, { ARGV[5], ARGV[6], ARGV[7] }) } end
end
return { call('ZCARD', index), rows }
