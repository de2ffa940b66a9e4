-- needs: prelude lanes limits
-- Says which limit holds back a queued job.
-- KEYS  1 prefix
-- ARGV  1 id
-- Returns {the first of its limits that is shut, how many run under it, most that run or 0;
--   most that start or 0, in so many seconds;   when it opens by time or 'inf';   1 while it counts what runs}; {} when none is.
local room, now = limits_room(refresh_lane), now_ms()
local f = call('HMGET', key('job:' .. ARGV[1]), 'type', 'limits')
local names = room.names_of(f[1] or DEFAULT_TYPE, f[2])
table.insert(names, table.remove(names, 1)) -- that of its type comes last
for _, name in ipairs(names) do
  local at = room:shut_until(name, now)
  if at then
    local limit = room.definition(name)
    return { name, call('SCARD', key('permits:' .. name)), limit.max, limit.starts, limit.per_ms / 1000,
      at == math.huge and 'inf' or digits(at), limit.counting and 1 or 0 }
  end
end
return {}
