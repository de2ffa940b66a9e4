-- needs: prelude
-- Lets the record try again what it has refused, a bounded number at a time.
-- KEYS  1 prefix
-- ARGV  1 most jobs
-- Returns how many; as many as asked for: there may be more.
local marks = call('ZRANGEBYSCORE', key('unsaved'), '-inf', '(0', 'WITHSCORES', 'LIMIT', 0, ARGV[1])
call('HDEL', key('aside'), '') -- a first write that a full Redis allows
for i = 1, #marks, 2 do
  call('ZADD', key('unsaved'), string.sub(marks[i + 1], 2), marks[i])
  call('HDEL', key('aside'), marks[i])
end
return #marks / 2
