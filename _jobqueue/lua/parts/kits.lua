-- seldom
-- A kit is the set of types that a worker handles, under a name that follows from it. `kits` has the last beat of each, kit:<kit>
-- its types with their timeouts in ms. A program of the release before knows no kits: its worker waits for `bell`.

local KIT_LIVES_MS = 15000

-- Returns how many workers live that publish a kit, and how many that do not.
local function workers_alive(now)
  local with, without = 0, 0
  for _, worker in ipairs(call('ZRANGEBYSCORE', key('workers'), now - KIT_LIVES_MS, '+inf')) do
    local info = call('GET', key('worker:' .. worker))
    if info and string.find(info, '"kit":', 1, true) then with = with + 1 elseif info then without = without + 1 end
  end
  return with, without
end

-- Which program of the release before lives, 'worker' or 'reaper'; nil when none does. A reaper of this release says `tells` at its tick, too.
local function old_program(now)
  local _, old = workers_alive(now)
  if old > 0 then return 'worker' end
  local reaper = call('HMGET', key('meta'), 'reaper', 'tells')
  if now - (reaper[1] or 0) < KIT_LIVES_MS and now - (reaper[2] or 0) >= KIT_LIVES_MS then return 'reaper' end
end
