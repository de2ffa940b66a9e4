-- A kit is the set of types that a worker handles, under a name that follows from it. `kits` has the last beat of each, kit:<kit>
-- its types with their timeouts in ms. A program of the release before knows no kits: its worker waits for `bell`.

local KIT_LIVES_MS = 15000

-- Returns how many workers live that publish a kit, and how many that do not. `lives_ms`: KIT_LIVES_MS.
local function workers_alive(now, lives_ms)
  local with, without = 0, 0
  for _, worker in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1] .. 'workers', now - lives_ms, '+inf')) do
    local info = redis.call('GET', KEYS[1] .. 'worker:' .. worker)
    if info and string.find(info, '"kit":', 1, true) then with = with + 1 elseif info then without = without + 1 end
  end
  return with, without
end
