-- needs: prelude
-- After a failover that has lost changes: makes the queue's revision greater than the record's, and all marks that are not. A
-- revision that is too low is raised last, so whoever dies in between leaves it to the next.
-- KEYS  1 prefix
-- ARGV  1 the greatest revision in the record   2 most marks to raise
-- Returns 1 when all are above that, 0 when there may be marks left to raise.
local highest, rev = tonumber(ARGV[1]), call('HGET', key('meta'), 'rev')
if not rev then return 1 end
local behind, ids = tonumber(rev) < highest, call('ZRANGEBYSCORE', key('unsaved'), '(0', ARGV[1], 'LIMIT', 0, ARGV[2])
if not behind and #ids == 0 then return 1 end
local new, last = digits(math.max(rev, highest) + 1), #ids < tonumber(ARGV[2])
call('HDEL', key('meta'), '') -- a first write that a full Redis allows
for _, id in ipairs(ids) do call('ZADD', key('unsaved'), new, id) end
if last or not behind then call('HSET', key('meta'), 'rev', new) end
return last and 1 or 0
