-- Keys, numbers, time, counters, the bell. KEYS[1] is the queue's key prefix, "jq:{<queue>}:"; times are Redis TIME in ms.
-- A part stands in front of each script whose first line names it. Redis makes the functions of a script anew in every call: 0.3
-- us for one that uses locals of the file, next to nothing for one that uses none. So rare ones use none, where they can.

local call = redis.call
local PREFIX = KEYS[1]
local BELL_TOKEN = '!'
local STATS_KEPT_S = 10800
local IDEMPOTENCY_MS = 86400000

local function key(name) return PREFIX .. name end

local function digits(number) return string.format('%.0f', number) end

local function now_ms()
  local t = call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

local function minute_key(now) return key('stats:' .. digits(math.floor(now / 60000))) end

-- Adds n to a counter for ever and for this minute.
local function count(name, n, now)
  call('HINCRBY', key('totals'), name, n)
  local minute = minute_key(now)
  if call('HINCRBY', minute, name, n) == tonumber(n) then call('EXPIRE', minute, STATS_KEPT_S) end
end

-- One token in the bell is enough: the slot that it wakes rings again if it leaves work behind.
local function ring()
  if call('LLEN', key('bell')) == 0 and call('ZCARD', key('queue')) > 0 and call('HGET', key('meta'), 'paused') ~= '1' then
    call('LTRIM', key('bell'), 0, 0) -- a first write that a full Redis allows
    call('LPUSH', key('bell'), BELL_TOKEN)
  end
end
