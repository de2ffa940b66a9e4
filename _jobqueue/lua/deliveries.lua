-- needs: prelude
-- Compares some jobs with `deliveries`, which has each delivery of a webhook that is not over.
-- KEYS  1 prefix
-- ARGV  1 1 to put right what is wrong   2... ids
-- Returns for each '', or what is wrong: 'missing', 'over' (it is not, or is no delivery), 'misplaced'.
local now, answers = digits(now_ms()), {}
if ARGV[1] == '1' then call('ZREM', key('deliveries'), '') end -- a first write that a full Redis allows
for i = 2, #ARGV do
  local id, right = ARGV[i], nil
  local f = call('HMGET', key('job:' .. id), 'status', 'also', 'due')
  local score = tonumber(call('ZSCORE', key('deliveries'), id) or nil)
  if f[2] and string.find(f[2], 'd', 1, true) then
    if f[1] == 'failed' then right = 'inf' end
    if f[1] == 'processing' then right = '-' .. now end
    if f[1] == 'queued' then right = now end
    if f[1] == 'scheduled' then right = f[3] or now end
  end
  local answer = ''
  if right and not score then answer = 'missing' end
  if score and not right then answer = 'over' end
  if score and right then
    local running, dead = score < 0, score == math.huge
    if running ~= (f[1] == 'processing') or dead ~= (f[1] == 'failed') then answer = 'misplaced' end
  end
  if answer ~= '' and ARGV[1] == '1' then
    if right then call('ZADD', key('deliveries'), right, id) else call('ZREM', key('deliveries'), id) end
  end
  answers[i - 1] = answer
end
return answers
