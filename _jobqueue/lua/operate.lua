-- needs: prelude
-- calls: cancel retry run
-- An operator's action on jobs, the way each goes; and one step of each job that says who has done it. A call sent twice notes it once.
-- KEYS  1 prefix
-- ARGV  1 cancel, retry, run or stop, which notes alone   2 the name of this request   3 who, '' where nobody has a name   4 where
--       the ids begin in what follows   5 how many there are   6... what the script of that name takes; for stop, ids
-- Returns what that script says; for stop, nothing.
local ACTIONS_KEPT = 20
local GOOD = { cancelled = 'cancelled', asked = '', retried = '', queued = 'queued' } -- answers, and the status that a job had before if it says so again
local action, request, who, args = ARGV[1], ARGV[2], ARGV[3], { unpack(ARGV, 6) }
local first, n, before = tonumber(ARGV[4]), tonumber(ARGV[5]), {}
for i = 1, n do before[i] = call('HGET', key('job:' .. args[first + i - 1]), 'status') end
local answers = {}
if action == 'cancel' then
  answers = cancel(args)
elseif action == 'retry' then
  answers = retry(args)
elseif action == 'run' then
  answers = run(args)
end
local now_text = digits(now_ms())
for i = 1, n do
  local id, said = args[first + i - 1], answers[i] or action == 'stop' and 'asked'
  if before[i] and GOOD[said] and GOOD[said] ~= before[i] then
    local noted, lines = call('HGET', key('job:' .. id), 'acts') or '', {}
    if not string.find(noted, ' ' .. request .. ' ', 1, true) then
      for line in string.gmatch(noted, '[^\n]+') do lines[#lines + 1] = line end
      lines[#lines + 1] = table.concat({ now_text, action, request, who }, ' ')
      call('HSET', key('job:' .. id), 'acts', table.concat(lines, '\n', math.max(1, #lines - ACTIONS_KEPT + 1)))
    end
  end
end
return answers
