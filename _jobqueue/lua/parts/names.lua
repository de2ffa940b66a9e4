-- seldom
-- The bound on names of limits that are alive: those in `limited`, but for definitions. See parts/limits.lua.

-- Returns {'names', one too many}; nil while there is room for all new names of these jobs. `args`: of submit.lua; `starts`,
-- `existing`: from where each job starts there, and '' where it is to be stored. A name that lives, that has a definition of its own,
-- or that no pattern covers, takes no room.
local function no_name_left(args, starts, existing)
  local LIVE_MOST, A_JOB, PAIRS, FIELDS = 10000, 3, 5, 6
  local there = call('ZCARD', key('limited'))
  if there + A_JOB * #starts <= LIVE_MOST then return nil end

  local names, seen = {}, {}
  for i, job in ipairs(starts) do
    for at = job + FIELDS, job + FIELDS + 2 * args[job + PAIRS] - 1, 2 do
      for name in string.gmatch(existing[i] == '' and args[at] == 'limits' and args[at + 1] or '', '%S+') do
        if not seen[name] then names[#names + 1], seen[name] = name, true end
      end
    end
  end
  if #names == 0 then return nil end
  local exact, patterns = call('HMGET', key('limits'), ' ', unpack(names)), {} -- the field ' ' says that there are patterns
  if not exact[1] then return nil end
  local defined = call('HLEN', key('limits')) - 1
  for _, pattern in ipairs(call('HKEYS', key('patterns'))) do patterns[pattern], defined = true, defined + 1 end
  local live, left = call('ZMSCORE', key('limited'), unpack(names)), LIVE_MOST - (there - defined)
  for i, name in ipairs(names) do
    local covered = false
    for length = not live[i] and not exact[i + 1] and #name or -1, 0, -1 do
      covered = covered or patterns[string.sub(name, 1, length) .. '*']
    end
    if covered then left = left - 1 end
    if covered and left < 0 then return { 'names', name } end
  end
end
