-- needs: prelude statuses
-- Reads what tags have counted. While a queue's totals say that none of its jobs has ended, it reads nothing of it.
-- KEYS  1 prefix
-- ARGV  for each queue (of one server): prefix, what it answered the last time for these tags or '', number of tags, tags
-- Returns for each queue {what it says of the totals, until when a worker of the release before may have lived or '';
--   for each tag, unless the totals are as the last time: {jobs in it, when the first of them was submitted or '';
--   how many are counted as queued, scheduled, blocked, processing, done, failed, cancelled, trimmed, deleted;
--   first, last and whole, or ''}}.
local names = { unpack(STATUSES) }
for _, name in ipairs({ 'trimmed', 'deleted', 'first', 'last', 'whole' }) do names[#names + 1] = name end

local function row_of(prefix, tag)
  local head = call('ZRANGE', prefix .. 'tag:' .. tag, 0, 0, 'WITHSCORES')
  local row = { call('ZCARD', prefix .. 'tag:' .. tag), head[2] or '' }
  for i, value in ipairs(call('HMGET', prefix .. 'tally:' .. tag, unpack(names))) do
    row[2 + i] = value or (i <= #STATUSES + 2 and '0' or '')
  end
  return row
end

local answers, at = {}, 1
while ARGV[at] do
  local prefix, seen, n = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2])
  local totals = call('HMGET', prefix .. 'totals', 'done', 'failed', 'cancelled', 'deleted', 'trimmed')
  for i = 1, 5 do totals[i] = totals[i] or '0' end
  local answer = { table.concat(totals, ' '), call('HGET', prefix .. 'meta', 'untold') or '' }
  if answer[1] ~= seen then
    for i = at + 3, at + 2 + n do answer[#answer + 1] = row_of(prefix, ARGV[i]) end
  end
  answers[#answers + 1] = answer
  at = at + 3 + n
end
return answers
