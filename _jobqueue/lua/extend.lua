-- needs: prelude tokens policy lanes limits leases remotes
-- Renews the lease of a job that a worker holds who speaks HTTP, and notes what it tells. A call sent twice notes it once.
-- KEYS  1 prefix
-- ARGV  1 id   2 token   3-5 default max_attempts, timeout_ms, backoff_ms   6 lease in ms of a worker that is not known any more
--       7 the name of this request   8 progress as JSON, '' for none   9 most lines of the log to keep   10... lines for its log
-- Returns {'held', the time until which it is the worker's, 1 when it was asked to stop, else 0}; {'lost'};
--   {} when there is no such job.
local id, token, request = ARGV[1], ARGV[2], ARGV[7]
local now, f = now_ms(), call('HMGET', key('job:' .. id), 'status', 'token', 'cancel', 'started', 'timeout_ms', 'type', 'log',
  'log_at')
if not f[1] then return {} end
local slot = slot_of(token)
local worker = slot and worker_of(slot)
if f[1] ~= 'processing' or f[2] ~= token or not worker then return { 'lost' } end
local remote = key('remote:' .. worker)
local entry, asked = unpack(call('HMGET', remote, 'held:' .. id, 'told'))
local timeout_ms, lease_ms = string.match(entry or '', '^%S+ (%d+) (%d+)')
if not timeout_ms then
  local _, of_type = policy_of({ type = f[6], timeout_ms = f[5] }, { ARGV[3], ARGV[4], ARGV[5] })
  timeout_ms, lease_ms = of_type, ARGV[6]
end
local left = timeout_ms - (now - tonumber(f[4] or now))
if lease_end(now, lease_ms, left) <= now then return { 'lost' } end -- the reaper is about to take it back

call('HDEL', remote, '') -- a first write that a full Redis allows
call('ZADD', key('leases'), digits(lease_end(now, tonumber(lease_ms), left)), id)
if ARGV[8] ~= '' then call('HSET', key('job:' .. id), 'progress', ARGV[8]) end
if ARGV[10] and asked ~= request then
  local lines, times = {}, {}
  local bytes, dropped, base, rest = string.match(f[8] or '', '^(%d+) (%d+) (%d+) (.*)')
  for line in string.gmatch(f[7] or '', '[^\n]+') do lines[#lines + 1] = line end
  for ms in string.gmatch(rest or '', '%S+') do times[#times + 1] = ms end
  if tonumber(bytes) ~= #(f[7] or '') or #times ~= #lines then -- a program of the release before has written the lines
    dropped, base, times = 0, digits(now), {}
    for i = 1, #lines do times[i] = '-' end
  end
  for i = 10, #ARGV do
    if ARGV[i] ~= '' then lines[#lines + 1], times[#times + 1] = ARGV[i], digits(now - base) end
  end
  local first = math.max(1, #lines - ARGV[9] + 1)
  local text = table.concat(lines, '\n', first)
  local told = { #text, digits(dropped + first - 1), base, table.concat(times, ' ', first) }
  call('HSET', key('job:' .. id), 'log', text, 'log_at', table.concat(told, ' '))
  call('HSET', remote, 'told', request)
end
show_remote(worker, now)
return { 'held', digits(math.max(now, math.min(now + lease_ms, now + left))), f[3] and 1 or 0 }
