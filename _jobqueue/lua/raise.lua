-- needs: prelude
-- After a failover that has lost changes: makes the queue's revision greater than the record's, and all marks with it. The
-- revision itself comes last, so whoever dies in between leaves it to the next.
-- KEYS  1 prefix
-- ARGV  1 the greatest revision in the record   2 most marks to raise
-- Returns 1 when the revision is above that, 0 when there are marks left to raise.
local highest, rev = tonumber(ARGV[1]), call('HGET', key('meta'), 'rev')
if not rev or tonumber(rev) >= highest then return 1 end
local ids = call('ZRANGEBYSCORE', key('unsaved'), '(0', ARGV[1], 'LIMIT', 0, ARGV[2])
call('HDEL', key('meta'), '') -- a first write that a full Redis allows
for _, id in ipairs(ids) do call('ZADD', key('unsaved'), digits(highest + 1), id) end
if #ids == tonumber(ARGV[2]) then return 0 end
call('HSET', key('meta'), 'rev', digits(highest + 1))
return 1
