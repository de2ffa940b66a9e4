-- The jobs that a job waits for, or has waited for: the first four stand in its hash, the rest in a list. Each is an id and, where
-- the job knows it by a name, that name.

local function parents_of(id)
  local parents = {}
  for _, text in ipairs(call('HMGET', key('job:' .. id), 'after', 'after.1', 'after.2', 'after.3')) do
    if text then parents[#parents + 1] = text end
  end
  for _, text in ipairs(call('LRANGE', key('after:' .. id), 0, -1)) do parents[#parents + 1] = text end
  return parents
end

local function id_of(parent) return string.match(parent, '^%S+') end
