-- needs: prelude listed
-- Tells whether a page before, or this one further up, has come upon a workflow.
-- KEYS  1 prefix
-- ARGV  1 to 3 as those of flows.lua   4 when the job was submitted by which it is found now   5 its id   6... ids of its jobs
-- Returns 1 when one of them stands in front of that one.
local step, turn, created, found = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[4]), ARGV[5]
for i = 6, #ARGV do
  local id = ARGV[i]
  for _, index in ipairs(LISTED) do
    local rank = call('ZREVRANK', key(index), id)
    local at = rank and math.floor((rank - come_since(index, ARGV[3])) / step)
    if at and at <= turn then
      local mine = tonumber(tied(id))
      if mine and (at < turn or mine > created or mine == created and id > found) then return 1 end
    end
  end
end
return 0
