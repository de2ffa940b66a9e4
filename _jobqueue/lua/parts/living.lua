-- A worker says which types it handles.

-- The kit lives: what is queued rings its bell from now on. What of the release before may still wait for `bell` is seen to by
-- the reaper's tick. `args` has from `first` on, for each of n types, type, '<max_attempts> <timeout_ms> <backoff_ms>', and a third.
local function live_in(kit, args, first, n, now, format)
  local bells = call('HGET', key('meta'), 'bells')
  call('ZADD', key('kits'), digits(now), kit)
  if call('ZCARD', key('kit:' .. kit)) ~= n then
    for i = first, first + 3 * n - 3, 3 do
      call('ZADD', key('kit:' .. kit), string.match(args[i + 1], '^%d+ (%d+) '), args[i])
    end
  end
  if not string.find(' ' .. (bells or '') .. ' ', ' bell:' .. kit .. ' ', 1, true) then
    call('HSET', key('meta'), 'bells', (bells or 'bell') .. ' bell:' .. kit, 'format', format)
    ring(nil, 'bell:' .. kit)
  end
end
