-- needs: prelude
-- Reads the ids of one page of the jobs in an index. Its cost depends on the page alone: with a filter it looks at a bounded number
-- of jobs, and may answer fewer than asked for while there are more.
-- KEYS  1 prefix
-- ARGV  1 index   2 'newest' first or 'next' first   3 most jobs to answer   4 most jobs to look at
--       5 where to start: a number of jobs to skip, or '<score> <id>' of the job after which the page begins
--       6 status or ''   7 type or ''   8 kind or ''
-- Returns {where the next page starts: '<score> <id>', or '' at the end; jobs: {id, score}, how many it has looked
-- at}.
local index, newest, want, most = key(ARGV[1]), ARGV[2] == 'newest', tonumber(ARGV[3]), tonumber(ARGV[4])
local status, job_type, kind = ARGV[6], ARGV[7], ARGV[8]
local any = status .. job_type .. kind == ''

local function matches(id)
  if any then return true end
  local f = call('HMGET', key('job:' .. id), 'status', 'type', 'kind')
  return f[1] and (status == '' or f[1] == status) and (job_type == '' or f[2] == job_type) and (kind == '' or f[3] == kind)
end

local range = newest and 'ZREVRANGE' or 'ZRANGE'
local after_score, after = string.match(ARGV[5], '^(%S+) (%S+)$')

-- The first rank of the page in an index. When the job that it follows has left the index, the page begins behind that job's
-- place among the ids of its score: Redis orders them by id.
local function start_in(index)
  if not after then return tonumber(ARGV[5]) end
  if call('ZSCORE', index, after) == after_score then return call(newest and 'ZREVRANK' or 'ZRANK', index, after) + 1 end
  local start = newest and call('ZCOUNT', index, '(' .. after_score, '+inf') or call('ZCOUNT', index, '-inf', '(' .. after_score)
  local stop = start + call('ZCOUNT', index, after_score, after_score)
  while start < stop do
    local middle = math.floor((start + stop) / 2)
    local id = call(range, index, middle, middle)[1]
    if (newest and id > after) or (not newest and id < after) then start = middle + 1 else stop = middle end
  end
  return start
end

-- Reads the next ids with their scores. What is queued stands in `queue` and, parked, in `held`.
local function next_ids()
  local start = start_in(index)
  local ids = call(range, index, start, start + most - 1, 'WITHSCORES')
  if ARGV[1] ~= 'queue' or call('EXISTS', key('held')) == 0 then return ids end
  local start_held = start_in(key('held'))
  local held = call(range, key('held'), start_held, start_held + most - 1, 'WITHSCORES')
  local both, a, b = {}, 1, 1
  while #both < 2 * most and (ids[a] or held[b]) do
    local score_a, score_b = tonumber(ids[a + 1]), tonumber(held[b + 1])
    if not score_b or score_a and (score_a < score_b or score_a == score_b and ids[a] < held[b]) then
      both[#both + 1], both[#both + 2], a = ids[a], ids[a + 1], a + 2
    else
      both[#both + 1], both[#both + 2], b = held[b], held[b + 1], b + 2
    end
  end
  return both
end

local rows, position, looked = {}, '', 0
local ids = next_ids()
for i = 1, #ids, 2 do
  position, looked = ids[i + 1] .. ' ' .. ids[i], looked + 1
  if matches(ids[i]) then
    rows[#rows + 1] = { ids[i], ids[i + 1] }
    if #rows == want then break end
  end
end
local more = #rows == want or #ids == 2 * most
return { more and position or '', rows, looked }
