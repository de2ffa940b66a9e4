-- Keys, numbers, time, counters, the bell. KEYS[1] is the queue's key prefix, "jq:{<queue>}:"; times are Redis TIME in ms.
-- A part stands in front of each script whose first line names it. Redis makes the functions of a script anew in every call, and
-- one takes the longer the more names of the file it uses: so parts that most calls do not need begin with "-- seldom", see
-- store/scripts.py. %d, not %.0f: half the time, and every number here fits a C long.

local call = redis.call
local PREFIX = KEYS[1]
local BELL_TOKEN = '!'
local STATS_KEPT_S = 10800
local IDEMPOTENCY_MS = 86400000

local function key(name) return PREFIX .. name end

local function digits(number) return string.format('%d', number) end

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

-- Rings for the workers that may find work, each kit of them by a bell of its own: with one for all, a worker that lacks the
-- type would take the token, see work, and ring for ever. One token is enough: the slot that it wakes rings again if it leaves
-- work behind. `meta`: the fields bells and gates, where the caller has read them. `own`: ring this bell alone.
local function ring(meta, own)
  local LOOK = 8 -- lanes of the best jobs; mostly a worker knows one of their types
  meta = meta or call('HMGET', key('meta'), 'bells', 'gates')
  local bells, at = own or meta[1] or 'bell', 1
  while at do
    local blank = string.find(bells, ' ', at, true)
    local bell = string.sub(bells, at, (blank or 0) - 1)
    at = blank and blank + 1
    if call('LLEN', key(bell)) == 0 then
      local work = call('ZCARD', key('queue')) > 0
      if not work and meta[2] then
        local kit, heads = key('kit:' .. string.sub(bell, 6)), call('ZRANGE', key('lanes'), 0, LOOK - 1)
        for _, known in ipairs(#heads > 0 and call('ZMSCORE', kit, unpack(heads)) or {}) do work = work or known end
        work = work or #heads == LOOK and #call('ZINTER', 2, key('lanes'), kit) > 0
      end
      if work and call('HGET', key('meta'), 'paused') ~= '1' then
        call('LTRIM', key(bell), 0, 0) -- a first write that a full Redis allows
        call('LPUSH', key(bell), BELL_TOKEN)
      end
    end
  end
end
