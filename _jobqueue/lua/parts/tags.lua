-- seldom
-- Tags count. tally:<tag>, a hash, has how many jobs of a tag stand in each status, and
--   trimmed, deleted    how many jobs are gone that way
--   first, last         when the first of those was submitted; when a job last ended
--   whole               see recount.lua
-- `tallied` of a job is the status under which its tags count it. A job that a program of the release before has moved or made
-- is counted right when it moves again, or when somebody recounts the tag.

local TAGGED = {} -- jobs to count: id -> true, or {tags, counted so far, counted from now on, when it was submitted if it is gone}

-- Counts them. To be called once in a script, when their hashes are written.
local function count_tags(jobs, now)
  local moves, firsts, ENDED = {}, {}, { 'done', 'failed', 'cancelled' }

  local function move(tags, from, to, gone)
    for tag in string.gmatch(tags, '%S+') do
      local by = moves[tag] or {}
      moves[tag], by[to] = by, (by[to] or 0) + 1
      if from then by[from] = (by[from] or 0) - 1 end
      if gone then firsts[tag] = math.min(firsts[tag] or math.huge, gone) end
    end
  end

  for id, known in pairs(jobs) do
    if known ~= true then
      move(unpack(known, 1, 4))
    else
      local f = call('HMGET', key('job:' .. id), 'status', 'tags', 'tallied')
      if f[1] and f[2] and f[1] ~= f[3] then
        call('HSET', key('job:' .. id), 'tallied', f[1])
        move(f[2], f[3], f[1])
      end
    end
  end
  for tag, by in pairs(moves) do
    local hash, first = key('tally:' .. tag), firsts[tag]
    if first and call('EXISTS', key('tag:' .. tag)) == 0 then
      call('DEL', hash) -- it was the last one
    else
      for status, n in pairs(by) do
        if n ~= 0 then call('HINCRBY', hash, status, n) end
      end
      if first and first < tonumber(call('HGET', hash, 'first') or math.huge) then
        call('HSET', hash, 'first', digits(first))
      end
      for _, status in ipairs(now and ENDED or {}) do
        if (by[status] or 0) > 0 then call('HSET', hash, 'last', digits(now)) end
      end
    end
  end
end
