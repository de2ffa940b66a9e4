-- needs: prelude expiry
-- Finds, and on demand puts right, what is wrong with the time that some jobs have for their first start.
-- KEYS  1 prefix
-- ARGV  1 1 to put it right   2 how many ms are late   3... ids
-- Returns for each 'lost' (it waits, and nobody will cancel it), 'late' (a reaper should have cancelled it);
--   'nobody' (it stands in `expires` and is gone, or has no such time), 'unseen' (no claim looks at `expires`), or ''.
local answers, now, repair = {}, now_ms(), ARGV[1] == '1'
local seen = call('HEXISTS', key('meta'), 'expires') == 1
for i = 3, #ARGV do
  local id, wrong = ARGV[i], ''
  local at, waits = call('ZSCORE', key('expires'), id), unstarted(id)
  local said = call('HGET', key('job:' .. id), 'expires')
  if waits and said and at ~= said then
    wrong = 'lost'
    if repair then may_start_until(id, said) end
  elseif at and not said then
    wrong = 'nobody'
    if repair then call('ZREM', key('expires'), id) end
  elseif at and waits and now - at > tonumber(ARGV[2]) then
    wrong = 'late'
  elseif at and not seen then
    wrong = 'unseen'
    if repair then may_start_until(id, said) end
  end
  answers[i - 2] = wrong
end
return answers
