-- seldom
-- Marks for the record in SQL: `unsaved` has each job that the record does not hold as it is, with the revision of its last
-- change. `rev` in meta is the last revision; while it is not there, no record is kept and nothing is marked.

-- Marks the jobs of a set, id -> true, with one revision, which rises whatever the clock does. To be called once in a script.
-- It uses no local of the file: a script that does not call it should not pay for it.
local function mark(rev, now, jobs)
  if not next(jobs) then return end
  local new, marks = string.format('%d', math.max(rev + 1, now * 1000)), {}
  for id in pairs(jobs) do marks[#marks + 1], marks[#marks + 2] = new, id end
  redis.call('HSET', KEYS[1] .. 'meta', 'rev', new)
  redis.call('ZADD', KEYS[1] .. 'unsaved', unpack(marks))
end
