-- Reads all counts of a queue at one instant.
-- KEYS  1 prefix
-- Returns {sizes: queued, scheduled, processing, done, failed, cancelled; totals: counter, value ...; length of the bell;
-- reaper's last tick or ''; now}.
local sizes = {}
for i, index in ipairs({ 'queue', 'scheduled', 'leases', 'done', 'failed', 'cancelled' }) do sizes[i] = call('ZCARD', key(index)) end
return { sizes, call('HGETALL', key('totals')), call('LLEN', key('bell')), call('HGET', key('meta'), 'reaper') or '', digits(now_ms()) }
