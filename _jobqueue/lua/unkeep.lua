-- needs: prelude
-- Ends the keeping of a record: nothing is marked any more, and the marks are removed, a bounded number at a time.
-- KEYS  1 prefix
-- ARGV  1 the greatest age in ms of the last sign of a record's process that lives   2 most marks to remove
-- Returns how many marks are left; -1: such a process lives, and would start again.
local now, history, ids = now_ms(), call('HGET', key('meta'), 'history'), {}
local seen = string.match(history or '', '^%d+')
if seen and now - seen < tonumber(ARGV[1]) then return -1 end
call('HDEL', key('meta'), 'rev', 'rev_claims', 'hold', 'history')
local gone = call('ZRANGE', key('unsaved'), 0, ARGV[2] - 1)
for i, id in ipairs(gone) do ids[i], gone[i] = id, key('gone:' .. id) end
if #ids > 0 then
  call('ZREM', key('unsaved'), unpack(ids))
  call('UNLINK', unpack(gone))
end
call('DEL', key('aside'))
return call('ZCARD', key('unsaved'))
