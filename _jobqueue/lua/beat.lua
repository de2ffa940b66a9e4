-- needs: prelude tokens lanes limits leases living by_type
-- A worker's beat for one queue: notes that it lives and renews the leases of the jobs that its slots run.
-- KEYS  1 prefix
-- ARGV  1 worker   2 what it is and runs, JSON   3 lease in ms   4 its kit, '' when it has none   5 the format of its data
--       6 number of types
--       then for each type: type, '<max_attempts> <timeout_ms> <backoff_ms>', '<max_backoff_ms or -> <jitter, 0 to 1>'
--       then the number of counters, and for each: name, how much to add
--       then the number of types that were counted, and for each: type, its counters as JSON, name -> n
--       then for each running attempt: id, token, ms left of its timeout, number of field-value pairs to store, field, value ...
-- Returns {now, reaper's last tick or '', answers}: 'ok', 'cancel' (somebody asked it to stop), 'stop' (at once) or 'lost' (not
-- its job any more).
local worker, lease_ms, kit, types_n = ARGV[1], tonumber(ARGV[3]), ARGV[4], tonumber(ARGV[6])
local now = now_ms()
local counters_at = 7 + 3 * types_n
local by_type_at = counters_at + 1 + 2 * tonumber(ARGV[counters_at])
local at = by_type_at + 1 + 2 * tonumber(ARGV[by_type_at])

local held = {}
while at <= #ARGV do
  local pairs_n = tonumber(ARGV[at + 3])
  local f = call('HMGET', key('job:' .. ARGV[at]), 'status', 'token', 'cancel')
  held[#held + 1] = { id = ARGV[at], token = ARGV[at + 1], left = tonumber(ARGV[at + 2]), first = at + 4, last = at + 3 + 2 * pairs_n,
    mine = f[1] == 'processing' and f[2] == ARGV[at + 1], cancel = f[3] }
  at = at + 4 + 2 * pairs_n
end

call('DEL', key('worker:' .. worker)) -- a first write that a full Redis allows
call('SET', key('worker:' .. worker), ARGV[2])
call('ZADD', key('workers'), digits(now), worker)
for i = 7, counters_at - 1, 3 do
  call('HSET', key('types'), ARGV[i], ARGV[i + 1])
  call('HSET', key('backoffs'), ARGV[i], ARGV[i + 2])
end
if kit ~= '' then live_in(kit, ARGV, 7, types_n, now, ARGV[5]) end
for i = counters_at + 1, by_type_at - 1, 2 do count(ARGV[i], ARGV[i + 1], now) end
local answers = {}
for i, h in ipairs(held) do
  if not h.mine then
    answers[i] = 'lost'
  else
    answers[i] = h.cancel and (call('HGET', key('job:' .. h.id), 'force') == h.token and 'stop' or 'cancel') or 'ok'
    local renewed = lease_end(now, lease_ms, h.left)
    if renewed > now then call('ZADD', key('leases'), digits(renewed), h.id) end
    if h.last >= h.first then call('HSET', key('job:' .. h.id), unpack(ARGV, h.first, h.last)) end
  end
end
pcall(count_by_type, { unpack(ARGV, by_type_at + 1, by_type_at + 2 * tonumber(ARGV[by_type_at])) }, now)
return { digits(now), call('HGET', key('meta'), 'reaper') or '', answers }
