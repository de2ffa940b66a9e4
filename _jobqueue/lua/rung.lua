-- needs: prelude
-- Says for which kits there is work, of those whose claims wait in an API process.
-- KEYS  1 prefix
-- ARGV  1 1 to say as well that these workers live   then for each kit (of queues of one server): prefix, kit, number of workers that
--       wait with it, workers
-- Returns for each: how many jobs there may be for it, 0 while its bell is silent; -1 when it is not known any more.
local answers, at, t = {}, 2, call('TIME')
local now = digits(t[1] * 1000 + math.floor(t[2] / 1000))
while ARGV[at] do
  local prefix, kit, n = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2])
  if call('EXISTS', prefix .. 'kit:' .. kit) == 0 then
    answers[#answers + 1] = -1
  else
    local work = 0
    if call('LLEN', prefix .. 'bell:' .. kit) > 0 then
      work = math.max(1, call('ZCARD', prefix .. 'queue') + call('ZCARD', prefix .. 'held'))
    end
    answers[#answers + 1] = work
    if ARGV[1] == '1' then
      call('DEL', prefix .. 'bell:') -- a first write that a full Redis allows
      call('ZADD', prefix .. 'kits', now, kit)
      for i = at + 3, at + 2 + n do call('ZADD', prefix .. 'workers', 'XX', now, ARGV[i]) end
    end
  end
  at = at + 3 + n
end
return answers
