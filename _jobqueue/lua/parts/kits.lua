-- seldom
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

-- Which program of the release before lives, 'worker' or 'reaper'; nil when none does. `lives_ms`: KIT_LIVES_MS, `workers`:
-- workers_alive. A reaper of this release says `tells` at its tick, too.
local function old_program(now, lives_ms, workers)
  local _, old = workers(now, lives_ms)
  if old > 0 then return 'worker' end
  local reaper = redis.call('HMGET', KEYS[1] .. 'meta', 'reaper', 'tells')
  if now - (reaper[1] or 0) < lives_ms and now - (reaper[2] or 0) >= lives_ms then return 'reaper' end
end
