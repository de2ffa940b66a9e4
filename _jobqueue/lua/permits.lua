-- needs: prelude lanes limits
-- Finds, and on demand puts right, permits that do not fit to what runs.
-- KEYS  1 prefix
-- ARGV  1 1 to put it right   2 a name, and then ids that hold a permit of it: those of them that do not run under it are told; or
--       '': ids that run, and told are those that lack a permit   3... ids
-- Returns those ids. What a definition still counts is left out.
local room, repair, name, wrong = limits_room(refresh_lane), ARGV[1] == '1', ARGV[2], {}

-- The defined names that a job runs under, name -> true.
local function runs_under(id)
  local f, names = call('HMGET', key('job:' .. id), 'status', 'type', 'limits'), {}
  local runs = f[1] == 'processing'
  for _, each in ipairs(runs and room.names_of(f[2] or DEFAULT_TYPE, f[3]) or {}) do names[each] = true end
  return names
end

for i = 3, #ARGV do
  local names, bad = runs_under(ARGV[i]), false
  if name ~= '' then
    bad = not names[name] and call('SISMEMBER', key('permits:' .. name), ARGV[i]) == 1
    if bad and repair then call('SREM', key('permits:' .. name), ARGV[i]) end
  else
    for each in pairs(names) do
      local limit = room.definition(each)
      bad = bad or limit and not limit.counting and call('SISMEMBER', key('permits:' .. each), ARGV[i]) == 0
    end
    if bad and repair then room.count_in(ARGV[i]) end
  end
  if bad then wrong[#wrong + 1] = ARGV[i] end
end
if repair and name ~= '' then call('ZADD', key('limited'), 0, name) end -- the tick looks after it
if repair and name ~= '' and #wrong > 0 then
  room.open(name)
  ring()
end
return wrong
