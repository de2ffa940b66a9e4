-- needs: prelude
-- Finds what is wrong with marks and with hashes that wait for the record, and removes it on demand.
-- KEYS  1 prefix
-- ARGV  1 1 to remove what is wrong   2... ids that are marked, or of which there is a gone:<id>
-- Returns for each what is wrong: 'kept by nobody' (no record is), 'nothing left' (of a marked job), 'not marked' (but gone), or ''.
local answers, kept = {}, call('HEXISTS', key('meta'), 'rev') == 1
for i = 2, #ARGV do
  local id, wrong = ARGV[i], ''
  local score, gone = call('ZSCORE', key('unsaved'), id), call('EXISTS', key('gone:' .. id)) == 1
  if (score or gone) and not kept then
    wrong = 'kept by nobody'
  elseif score and not gone and call('EXISTS', key('job:' .. id)) == 0 then
    wrong = 'nothing left'
  elseif gone and not score then
    wrong = 'not marked'
  end
  answers[i - 1] = wrong
end
if ARGV[1] == '1' then
  for i, wrong in ipairs(answers) do
    if wrong ~= '' then
      call('ZREM', key('unsaved'), ARGV[i + 1])
      call('HDEL', key('aside'), ARGV[i + 1])
      call('DEL', key('gone:' .. ARGV[i + 1]))
    end
  end
end
return answers
