-- needs: prelude lanes limits parked kits
-- The way back to format 1: puts parked jobs back into the queue, and when none is left takes away what only format 2 has.
-- KEYS  1 prefix
-- ARGV  1 most jobs to move; 0 only looks
-- Returns {how many ids it has moved, workers that publish a kit and live, jobs that are blocked: format 1 has none}.
local now, most = now_ms(), tonumber(ARGV[1])
if most == 0 then return { 0, workers_alive(now), call('ZCARD', key('blocked')) } end
local rows, jobs = call('ZRANGE', key('held'), 0, most - 1, 'WITHSCORES'), {}
for i = 1, #rows, 2 do
  local f = call('HMGET', key('job:' .. rows[i]), 'status', 'type')
  jobs[#jobs + 1] = { id = rows[i], score = rows[i + 1], queued = f[1] == 'queued', type = f[2] }
end
local kits = call('ZRANGE', key('kits'), 0, -1)
local workers = workers_alive(now)

for _, job in ipairs(jobs) do
  unpark(job.id, job.type)
  if job.queued then call('ZADD', key('queue'), job.score, job.id) end
end
if #jobs < most then
  call('HDEL', key('meta'), 'bells', 'gates', 'swept', 'unhandled', 'untold', 'tells', 'hooks', 'looked', 'about', 'format',
    'expires', 'limits_at', 'fair', 'turns_ended', 'max_queued', 'summed')
  for _, name in ipairs(call('ZRANGE', key('limited'), 0, -1)) do
    call('DEL', key('permits:' .. name), key('starts:' .. name), key('waits:' .. name))
  end
  call('DEL', key('limited'), key('limits'), key('patterns'), key('counting'), key('shut'), key('under'))
  for _, kit in ipairs(kits) do call('DEL', key('kit:' .. kit), key('bell:' .. kit)) end
  call('DEL', key('kits'), key('lanes'), key('pauses'), key('strange'), key('stuck'), key('by_type'), key('counted'),
    key('expires'), key('turns'), key('rounds'), key('reserved'), key('recent'))
end
ring()
return { #jobs, workers, call('ZCARD', key('blocked')) }
