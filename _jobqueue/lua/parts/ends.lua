-- Where a job ends: every way to done, failed or cancelled leads through `ended`. It writes the hash at once and gathers the rest,
-- which file_ends writes: one ZADD for each status, however many jobs have ended.

local ENDS, TALLIES = {}, {} -- status -> score, id ...; counter -> how much to add

local function tally(name) TALLIES[name] = (TALLIES[name] or 0) + 1 end

-- Ends a job that its caller has taken out of its index. `...`: further fields and values for its hash.
local function ended(job, status, now_text, ...)
  call('HSET', key('job:' .. job.id), 'status', status, 'finished', now_text, ...)
  local list = ENDS[status] or {}
  list[#list + 1], list[#list + 2] = now_text, job.id
  ENDS[status] = list
  tally(status)
end

local function file_ends()
  for status, list in pairs(ENDS) do call('ZADD', key(status), unpack(list)) end
  ENDS = {}
end

local function count_tallies(now)
  for name, n in pairs(TALLIES) do count(name, n, now) end
  TALLIES = {}
end
