-- Makes a scheduled job due now. Sent twice, it says the same.
-- KEYS  1 prefix
-- ARGV  1 id
-- Returns 'queued', or the status that forbids it; false when there is no such job.
local f = call('HMGET', key('job:' .. ARGV[1]), 'status', 'score')
if f[1] ~= 'scheduled' then return f[1] end
call('ZREM', key('scheduled'), ARGV[1])
call('HSET', key('job:' .. ARGV[1]), 'status', 'queued', 'due', digits(now_ms()))
call('ZADD', key('queue'), f[2], ARGV[1])
ring()
return 'queued'
