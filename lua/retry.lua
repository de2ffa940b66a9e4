-- An operator's retry: a failed or cancelled job is queued again, last of its priority, with a new count of attempts.
-- Sent twice with the same request, it retries once.
-- KEYS  1 prefix
-- ARGV  1 id   2 name of this request
-- Returns 'queued', or the status that forbids it; false when there is no such job.
local id, request = ARGV[1], ARGV[2]
local PRIORITY_STEP = 2 ^ 43
local f = call('HMGET', key('job:' .. id), 'status', 'score', 'retry')
local status = f[1]
if f[3] == request then return 'queued' end
if status ~= 'failed' and status ~= 'cancelled' then return status end
call('ZREM', key(status), id)
local score = digits(math.floor(f[2] / PRIORITY_STEP) * PRIORITY_STEP + call('HINCRBY', key('meta'), 'seq', 1))
call('HDEL', key('job:' .. id), 'token', 'cancel', 'finished', 'started')
call('HSET', key('job:' .. id), 'status', 'queued', 'score', score, 'attempts', 0, 'retry', request)
call('ZADD', key('queue'), score, id)
count('requeued', 1, now_ms())
ring()
return 'queued'
