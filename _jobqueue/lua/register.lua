-- Gives a queue its number, which its job ids carry: the lowest that was never given, and when all have been, the lowest that no
-- queue has. The registry is the one key that no queue owns.
-- KEYS  1 jq:queues
-- ARGV  1 queue   2 how many queues there may be; a queue that is there already may stay   3 its number by its own meta, or ''
-- Returns its number; -1 when there are too many.
local MAX_NUMBERS = 4096 -- 12 bits of a job id
local GIVEN = 'jq:{jq:queues}:given'
local call = redis.call
local queue, own = ARGV[1], tonumber(ARGV[3])

local function enter(number)
  call('HSET', KEYS[1], queue, number)
  call('SADD', GIVEN, number)
  return number
end

-- The queue's jobs carry that number, whatever the registry says. After a loss another queue may have it too.
if own then return enter(own) end

local number = call('HGET', KEYS[1], queue)
if number then return tonumber(number) end
if call('HLEN', KEYS[1]) >= math.min(tonumber(ARGV[2]), MAX_NUMBERS) then return -1 end

local given, taken = {}, {}
for _, other in ipairs(call('SMEMBERS', GIVEN)) do given[tonumber(other)] = true end
for _, other in ipairs(call('HVALS', KEYS[1])) do taken[tonumber(other)] = true end -- of the version before, not in GIVEN
for new = 0, MAX_NUMBERS - 1 do
  if not given[new] and not taken[new] then return enter(new) end
end
for freed = 0, MAX_NUMBERS - 1 do
  if not taken[freed] then return enter(freed) end
end
return -1
