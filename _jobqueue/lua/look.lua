-- needs: prelude places statuses waiting
-- Reads all counts of a queue at one instant and, when asked, its next jobs, its workers and its last minutes.
-- KEYS  1 prefix
-- ARGV  (none for the counts alone)  1 number of the last minutes to read, this one included   2 number of the next jobs
-- Returns {sizes: queued, scheduled, processing, done, failed, cancelled; totals: counter, value ...; length of the bell;
-- reaper's last tick, or '', and the lease in ms that it goes by, or ''; 1 when paused; since when the oldest waiting job waits, '' when none does; now;
-- the checker's last verdict: '<when> <number of problems>' or ''} and, when asked,
-- {types of the next jobs; workers: {worker, last beat, what it is and runs as JSON} ...; minutes, this one first: {counter,
-- value ...} ...}.
local sizes, now = {}, now_ms()
for i, status in ipairs(STATUSES) do sizes[i] = call('ZCARD', key(INDEX[status])) end
local meta = call('HMGET', key('meta'), 'reaper', 'paused', 'checked', 'reaper_lease')
local since = waiting_since(now)
local books = { sizes, call('HGETALL', key('totals')), call('LLEN', key('bell')), { meta[1] or '', meta[4] or '' }, meta[2] == '1' and 1 or 0,
  since and digits(since) or '', digits(now), meta[3] or '' }
if not ARGV[1] then return books end

local types, workers, minutes = {}, {}, {}
for _, id in ipairs(call('ZRANGEBYSCORE', key('queue'), '-inf', '+inf', 'LIMIT', 0, ARGV[2])) do
  types[#types + 1] = call('HGET', key('job:' .. id), 'type') or ''
end
local beats = call('ZRANGE', key('workers'), 0, -1, 'WITHSCORES')
for i = 1, #beats, 2 do
  local info = call('GET', key('worker:' .. beats[i]))
  if info then workers[#workers + 1] = { beats[i], beats[i + 1], info } end
end
for i = 1, tonumber(ARGV[1]) do minutes[i] = call('HGETALL', minute_key(now - (i - 1) * 60000)) end
books[9], books[10], books[11] = types, workers, minutes
return books
