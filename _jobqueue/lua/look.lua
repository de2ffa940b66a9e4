-- needs: prelude places statuses waiting
-- Reads all counts of a queue at one instant and, when asked, its next jobs, its workers and its last minutes.
-- KEYS  1 prefix
-- ARGV  (none for the counts alone)  1 number of the last minutes to read, this one included   2 number of the next jobs
-- Returns {
--   sizes: queued, scheduled, blocked, processing, done, failed, cancelled;
--   totals: counter, value ...;   how many bells have a token;
--   reaper's last tick, or '', and the lease in ms that it goes by, or '';
--   1 when paused;   the types that are paused;   since when the oldest waiting job waits, or '';   now;
--   the checker's last verdict: '<when> <number of problems>' or '';
--   some dead letters for which blocked jobs wait;
--   of the record, {} where none is kept: {how many jobs it lacks, since when the first of them, what its process last said of
--     itself or '', how many it has refused, one of them or '', why};
--   max_queued or '';
--   of the webhooks that are not told yet, {} where there is none: how many run, are due, are due later, are dead letters}
-- and, when asked, {
--   types of the next jobs and of those that are parked, some of which nobody handles;
--   workers: {worker, last beat, what it is and runs as JSON} ...;
--   minutes, this one first: {counter, value ...} ...;
--   recent, the latest first: '<when> <how many waited> <how many had ended>' ...}.
local sizes, now = {}, now_ms()
for i, status in ipairs(STATUSES) do sizes[i] = call('ZCARD', key(INDEX[status])) end
sizes[1] = sizes[1] + call('ZCARD', key('held'))
local meta = call('HMGET', key('meta'), 'reaper', 'paused', 'checked', 'reaper_lease', 'bells', 'gates', 'unhandled', 'rev',
  'history', 'max_queued', 'fair')
local since, rung = waiting_since(now, meta[11]), 0
for bell in string.gmatch(meta[5] or 'bell', '%S+') do rung = rung + call('LLEN', key(bell)) end
local stuck, blocked = {}, call('ZCARD', key('blocked')) > 0
for _, id in ipairs(blocked and call('ZRANGE', key('stuck'), 0, 9) or {}) do -- the reaper's tick drops what is not so any more
  if call('HGET', key('job:' .. id), 'status') == 'failed' then stuck[#stuck + 1] = id end
end
local books = { sizes, call('HGETALL', key('totals')), rung, { meta[1] or '', meta[4] or '' }, meta[2] == '1' and 1 or 0,
  since and digits(since) or '', digits(now), meta[3] or '', meta[6] and call('SMEMBERS', key('pauses')) or {}, stuck }
if meta[8] then
  local oldest = call('ZRANGEBYSCORE', key('unsaved'), '(0', '+inf', 'WITHSCORES', 'LIMIT', 0, 1)[2]
  local refused = call('HSCAN', key('aside'), 0, 'COUNT', 1)[2]
  books[11] = { call('ZCARD', key('unsaved')), oldest and digits(oldest / 1000) or '', meta[9] or '',
    call('HLEN', key('aside')), refused[1] or '', refused[2] or '' }
else
  books[11] = {}
end
books[12] = meta[10] or ''
books[13] = {}
if call('EXISTS', key('deliveries')) == 1 then
  for i, range in ipairs({ { '-inf', '(0' }, { 0, digits(now) }, { '(' .. digits(now), '(inf' }, { 'inf', 'inf' } }) do
    books[13][i] = call('ZCOUNT', key('deliveries'), range[1], range[2])
  end
end
if not ARGV[1] then return books end

local types, workers, minutes = {}, {}, {}
for _, id in ipairs(call('ZRANGEBYSCORE', key('queue'), '-inf', '+inf', 'LIMIT', 0, ARGV[2])) do
  types[#types + 1] = call('HGET', key('job:' .. id), 'type') or ''
end
for job_type in string.gmatch(meta[7] or '', '%S+') do types[#types + 1] = job_type end
if meta[6] and tonumber(ARGV[2]) > 0 then -- the reaper's tick knows those behind the first
  for _, job_type in ipairs(call('ZRANGE', key('lanes'), 0, ARGV[2] - 1)) do types[#types + 1] = job_type end
end
local beats = call('ZRANGE', key('workers'), 0, -1, 'WITHSCORES')
for i = 1, #beats, 2 do
  local info = call('GET', key('worker:' .. beats[i]))
  if info then workers[#workers + 1] = { beats[i], beats[i + 1], info } end
end
for i = 1, tonumber(ARGV[1]) do minutes[i] = call('HGETALL', minute_key(now - (i - 1) * 60000)) end
books[14], books[15], books[16], books[17] = types, workers, minutes, call('LRANGE', key('recent'), 0, 9)
return books
