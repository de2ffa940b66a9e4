-- needs: prelude
-- Finds those of some jobs that have ended or are gone. While a queue's totals say that none of its jobs has, it looks at none.
-- KEYS  1 prefix
-- ARGV  for each queue (of one server): prefix, what it answered the last time for these jobs or '', number of ids, ids
-- Returns for each queue {what it says of the totals, ids of jobs that have ended or are gone ...}.
local LIVES = { queued = true, scheduled = true, blocked = true, processing = true }
local answers, at = {}, 1
while ARGV[at] do
  local prefix, seen, n = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2])
  local totals = call('HMGET', prefix .. 'totals', 'done', 'failed', 'cancelled', 'deleted', 'trimmed')
  for i = 1, 5 do totals[i] = totals[i] or '0' end
  local answer = { table.concat(totals, ' ') }
  if answer[1] ~= seen then
    for i = at + 3, at + 2 + n do
      if not LIVES[call('HGET', prefix .. 'job:' .. ARGV[i], 'status')] then answer[#answer + 1] = ARGV[i] end
    end
  end
  answers[#answers + 1] = answer
  at = at + 3 + n
end
return answers
