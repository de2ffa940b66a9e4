-- needs: prelude statuses tags
-- Counts some of the jobs of a tag that are not counted as what they are: a program of the release before has made or moved them.
-- Or only looks. Who has come to the end calls whole.lua.
-- KEYS  1 prefix
-- ARGV  1 tag   2 '<score> <id>' of the job behind which to go on, '' at the beginning   3 most jobs   4 1 to count, 0 to look
-- Returns {where to go on, '' at the end;   now;   jobs in the tag;
--   three lists by status in the order of STATUSES: what the tag counted before, what it counts now, as what these jobs are counted;
--   how many of them are counted as something else than they are;   those that stand there wrongly}.
local tag, most, counts = ARGV[1], tonumber(ARGV[3]), ARGV[4] == '1'
local index, hash, now = key('tag:' .. ARGV[1]), key('tally:' .. ARGV[1]), now_ms()

local function tallied()
  local row = call('HMGET', hash, unpack(STATUSES))
  for i = 1, #STATUSES do row[i] = tonumber(row[i] or 0) end
  return row
end

-- Jobs that are gone from there, and come before, may be looked at again; none is left out.
local function start()
  local score, id = string.match(ARGV[2], '^(%S+) (%S+)$')
  if not score then return 0 end
  if call('ZSCORE', index, id) == score then return call('ZRANK', index, id) + 1 end
  return call('ZCOUNT', index, '-inf', '(' .. score)
end

local before, from = tallied(), start()
local rows = call('ZRANGE', index, from, from + most - 1, 'WITHSCORES')
local jobs, place, wrong, strays, last = {}, '', 0, {}, 0
for i = 1, #rows, 2 do
  local f = call('HMGET', key('job:' .. rows[i]), 'status', 'tags', 'tallied', 'finished')
  place = rows[i + 1] .. ' ' .. rows[i]
  if not f[1] or not string.find(' ' .. (f[2] or '') .. ' ', ' ' .. tag .. ' ', 1, true) then
    strays[#strays + 1] = rows[i]
  else
    jobs[#jobs + 1] = { id = rows[i], status = f[1], tallied = f[3] }
    if f[3] and f[3] ~= f[1] then wrong = wrong + 1 end
    if f[1] == 'done' or f[1] == 'failed' or f[1] == 'cancelled' then last = math.max(last, tonumber(f[4] or 0)) end
  end
end

if counts then
  call('ZREM', key('tag:' .. tag), '', unpack(strays)) -- a first write that a full Redis allows
  for _, job in ipairs(jobs) do
    if job.tallied ~= job.status then TAGGED[job.id] = true end
    job.tallied = job.status
  end
  count_tags(TAGGED)
  if last > tonumber(call('HGET', hash, 'last') or 0) then call('HSET', hash, 'last', digits(last)) end
end
local of, tallies = {}, {}
for i, status in ipairs(STATUSES) do of[status], tallies[i] = i, 0 end
for _, job in ipairs(jobs) do
  local i = of[job.tallied or '']
  if i then tallies[i] = tallies[i] + 1 end
end
return { #rows == 2 * most and place or '', digits(now), call('ZCARD', index), before, tallied(), tallies, wrong, strays }
