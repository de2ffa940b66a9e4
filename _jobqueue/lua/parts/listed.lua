-- Where the list of workflows finds them: by the jobs of an index, so many at a time, the newest first.

local LISTED = { 'blocked', 'leases', 'failed', 'cancelled', 'done' } -- not those that wait in the queue or for their time

-- When a job was submitted that waits for others, or for which others wait; else nil. None that tells a webhook, and of those that
-- have one none for which perhaps that alone waits.
local function tied(id)
  local f = call('HMGET', key('job:' .. id), 'also', 'created')
  local has = function(room) return string.find(f[1] or '', room, 1, true) end
  return f[2] and not has('d') and (has('p') or has('c') and not has('w')) and f[2] or nil
end

-- How many jobs of an index have come into it since the first page, `until`: in ms, or ''. Leases are ordered by their ends.
local function come_since(index, until_ms)
  if until_ms == '' or index == 'leases' then return 0 end
  return call('ZCOUNT', key(index), '(' .. until_ms, '+inf')
end
