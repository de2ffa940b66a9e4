-- needs: prelude by_type sums
-- Reads counters for a chart.
-- KEYS  1 prefix
-- ARGV  1 number of the last minutes to read, this one included   2 number of the last ten minutes, these included
--       3 a type, or * for the queue as a whole
-- Returns {now, the last minute that was added to a sum, minutes, ten minutes}, this one first: of each its counters, name, n ... for
-- the queue, JSON for a type and for ten minutes, or ''.
local now, minutes, sums = now_ms(), {}, {}
for i = 1, tonumber(ARGV[1]) do
  local at = now - (i - 1) * 60000
  minutes[i] = ARGV[3] == '*' and call('HGETALL', minute_key(at)) or call('HGET', by_type_key(at), ARGV[3]) or ''
end
local this = math.floor(now / 60000)
for i = 1, tonumber(ARGV[2]) do sums[i] = call('HGET', sums_key(this - (i - 1) * SUM_MINUTES), ARGV[3]) or '' end
return { digits(now), call('HGET', key('meta'), 'summed') or '', minutes, sums }
