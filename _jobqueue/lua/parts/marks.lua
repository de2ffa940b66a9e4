-- seldom
-- Marks for the record in SQL: `unsaved` has each job that the record does not hold as it is, with the revision of its last
-- change. `rev` in meta is the last revision; while it is not there, no record is kept and nothing is marked.

-- Marks the jobs of a set, id -> true, with one revision, which rises whatever the clock does. To be called once in a script.
local function mark(rev, now, jobs)
  if not next(jobs) then return end
  local new, marks = digits(math.max(rev + 1, now * 1000)), {}
  for id in pairs(jobs) do marks[#marks + 1], marks[#marks + 2] = new, id end
  call('HSET', key('meta'), 'rev', new)
  call('ZADD', key('unsaved'), unpack(marks))
end
