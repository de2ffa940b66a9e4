-- needs: prelude
-- Removes the marks of jobs that the record now holds, those that have not changed since they were read. What the record has
-- refused is set aside: its mark stays, below 0, where no reader looks.
-- KEYS  1 prefix
-- ARGV  1 number of jobs that it holds   then for each: id, revision   then for each that it has refused: id, revision, why
-- Returns how many marks it has removed or set aside.
local ASIDE_MOST = 1000 -- what is refused beyond that is given up
local first_refused = 2 + 2 * tonumber(ARGV[1])
local now, ids = now_ms(), {}
for at = 2, first_refused - 1, 2 do ids[#ids + 1] = ARGV[at] end
local scores, same, gone = #ids > 0 and call('ZMSCORE', key('unsaved'), unpack(ids)) or {}, {}, {}
for i, id in ipairs(ids) do
  if scores[i] == ARGV[2 * i + 1] then same[#same + 1], gone[#gone + 1] = id, key('gone:' .. id) end
end
local aside, given_up, left = {}, {}, ASIDE_MOST - call('HLEN', key('aside'))
for at = first_refused, #ARGV, 3 do
  if call('ZSCORE', key('unsaved'), ARGV[at]) == ARGV[at + 1] then
    local list = left > #aside and aside or given_up
    list[#list + 1] = { id = ARGV[at], rev = ARGV[at + 1], why = ARGV[at + 2] }
  end
end
for _, job in ipairs(given_up) do same[#same + 1], gone[#gone + 1] = job.id, key('gone:' .. job.id) end

if #same > 0 then
  call('ZREM', key('unsaved'), unpack(same))
  call('HDEL', key('aside'), unpack(same))
  call('UNLINK', unpack(gone))
end
call('ZREM', key('unsaved'), '') -- a first write that a full Redis allows
for _, job in ipairs(aside) do
  call('ZADD', key('unsaved'), '-' .. job.rev, job.id)
  call('HSET', key('aside'), job.id, job.why)
end
if #given_up > 0 then count('unrecorded', #given_up, now) end
return #same + #aside
