-- needs: prelude places fair tags webhooks edges ends marks
-- Goes on to tell children what has become of the jobs that they wait for. And looks at some of those that wait, the next ones each
-- time, for one that nobody will tell: a program of the release before ends jobs and knows of no children.
-- KEYS  1 prefix
-- ARGV  1 most edges to look at so; 0: none
-- Returns 1 when somebody is still to be told, else 0.
local now, most = now_ms(), tonumber(ARGV[1])
local TOLD_MOST, WANTS_END = 250, 2 ^ 50
if call('EXISTS', key('ends'), key('blocked'), key('stuck')) == 0 then return 0 end
call('ZREM', key('ends'), '') -- a first write that a full Redis allows

-- Whether an edge would have been closed if its parent had told. One of a cancelled parent may wait for both to be retried.
local function is_forgotten(parent, child)
  local edge = tonumber(call('ZSCORE', key('then:' .. parent), child) or 0)
  if edge <= 0 or call('ZSCORE', key('ends'), parent) then return false end
  local status = call('HGET', key('job:' .. parent), 'status')
  return not status or status == 'done' or edge > WANTS_END and (status == 'failed' or status == 'cancelled')
end

-- The parents of a child from the `from`th on, at most `n`.
local function some_parents_of(child, from, n)
  local SHOWN, found = 4, {}
  for _, text in ipairs(from < SHOWN and call('HMGET', key('job:' .. child), 'after', 'after.1', 'after.2', 'after.3') or {}) do
    if text then found[#found + 1] = string.match(text, '^%S+') end
  end
  local first = math.max(0, from - SHOWN)
  for _, text in ipairs(call('LRANGE', key('after:' .. child), first, first + n - 1)) do
    found[#found + 1] = string.match(text, '^%S+')
  end
  return found
end

-- Looks at the next edges. `looked` of meta: the rank in `blocked` at which the next call begins, and the parent.
local function look()
  local rank, from = string.match(call('HGET', key('meta'), 'looked') or '', '^(%d+) (%d+)$')
  rank, from = tonumber(rank or 0), tonumber(from or 0)
  local children, seen = call('ZRANGE', key('blocked'), rank, rank + most - 1), 0
  for _, child in ipairs(children) do
    local parents = some_parents_of(child, from, most)
    for _, parent in ipairs(parents) do
      if is_forgotten(parent, child) then call('ZADD', key('ends'), 0, parent) end
    end
    seen, from = seen + #parents, #parents >= most and from + #parents or 0
    if from > 0 then break end
    rank = rank + 1
    if seen >= most then break end
  end
  if rank == 0 and from == 0 or #children == 0 then
    call('HDEL', key('meta'), 'looked')
  else
    call('HSET', key('meta'), 'looked', rank .. ' ' .. from)
  end
end

if most > 0 then look() end
for _, id in ipairs(call('ZRANGE', key('stuck'), 0, 9)) do -- dead letters for which children still wait
  local waits = call('ZCOUNT', key('then:' .. id), '(0', WANTS_END) > 0
  if not waits or call('HGET', key('job:' .. id), 'status') ~= 'failed' then call('ZREM', key('stuck'), id) end
end
OWED = call('ZRANGE', key('ends'), 0, TOLD_MOST - 1)
local changed = {}
local told = write_ends(now, changed)
local rev = next(changed) and call('HGET', key('meta'), 'rev')
if rev then mark(rev, now, changed) end
if told.queued then ring() end
return call('EXISTS', key('ends'))
