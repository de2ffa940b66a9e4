-- Reads all counts of a queue at one instant.
-- KEYS  1 prefix
-- Returns {sizes: queued, scheduled, processing, done, failed, cancelled; totals: counter, value ...; length of the bell;
-- reaper's last tick or ''; 1 when paused; when the oldest queued job was submitted, '' when none waits; now}.
local sizes, oldest = {}, ''
for i, index in ipairs({ 'queue', 'scheduled', 'leases', 'done', 'failed', 'cancelled' }) do sizes[i] = call('ZCARD', key(index)) end
for band = 0, 9 do -- the first of each priority is its oldest
  local first = call('ZRANGEBYSCORE', key('queue'), digits(band * PRIORITY_STEP), '(' .. digits((band + 1) * PRIORITY_STEP), 'LIMIT', 0, 1)
  local created = first[1] and call('HGET', key('job:' .. first[1]), 'created')
  if created and (oldest == '' or tonumber(created) < tonumber(oldest)) then oldest = created end
end
local meta = call('HMGET', key('meta'), 'reaper', 'paused')
local paused = meta[2] == '1' and 1 or 0
return { sizes, call('HGETALL', key('totals')), call('LLEN', key('bell')), meta[1] or '', paused, oldest, digits(now_ms()) }
