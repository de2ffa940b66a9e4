-- Where a job ends: every way to done, failed or cancelled leads through `ended`. It writes the hash and gathers the rest, which
-- write_ends writes: one ZADD for each status and one increment for each counter, however many jobs have ended.

local ENDS, TALLIES = {}, {} -- status -> score, id ...; counter -> how much to add
local OWED -- jobs whose children are to be told, see parts/edges.lua
local HOOKED -- id, status ... of jobs whose ends are to be told by a webhook, see parts/webhooks.lua

local function tally(name) TALLIES[name] = (TALLIES[name] or 0) + 1 end

-- Ends a job that its caller has taken out of its index. `...`: further fields and values for its hash. Returns the status.
-- `job` has id, also and tallied.
local function ended(job, status, now_text, ...)
  call('HSET', key('job:' .. job.id), 'status', status, 'finished', now_text, ...)
  if job.tallied then TAGGED[job.id] = true end
  local also = job.also
  if also and string.find(also, 'c', 1, true) then
    call('ZADD', key('ends'), 0, job.id)
    OWED = OWED or {}
    OWED[#OWED + 1] = job.id
  end
  if also and string.find(also, 'w', 1, true) then
    HOOKED = HOOKED or {}
    HOOKED[#HOOKED + 1], HOOKED[#HOOKED + 2] = job.id, status
  elseif also and string.find(also, 'd', 1, true) then
    note_delivery(job.id, status)
    tally('webhooks_' .. status)
  end
  local list = ENDS[status]
  if list then
    list[#list + 1], list[#list + 2] = now_text, job.id
  else
    ENDS[status] = { now_text, job.id }
  end
  return status
end

-- To be called once, after the last end. `changed`: a set, id -> true, that gets the children whose status changes. Returns what
-- tell_children says, nil when nobody was to be told and no delivery was made. `more`: the caller goes on to change jobs, and
-- counts them by their tags.
local function write_ends(now, changed, more)
  local told = OWED and tell_children(OWED, now, ended, changed, TAGGED, turn_of)
  if HOOKED then
    local made = write_deliveries(HOOKED, now, changed, turn_of)
    HOOKED = nil
    count('submitted', made, now)
    count('webhooks', made, now)
    told = { queued = true, left = told and told.left }
  end
  for status, list in pairs(ENDS) do
    call('ZADD', key(status), unpack(list))
    count(status, #list / 2, now)
  end
  for name, n in pairs(TALLIES) do count(name, n, now) end
  if not more and next(TAGGED) then pcall(count_tags, TAGGED, now) end
  return told
end
