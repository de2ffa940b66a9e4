-- needs: prelude
-- Reads what a reaper looks at: expired leases and the workers' last beats.
-- KEYS  1 prefix
-- ARGV  1 most leases to return
-- Returns {now, leases that ran out: {id, token or '', lease end}, workers with their last beat: worker, beat ...}.
local now = now_ms()
local ran_out = {}
local due = call('ZRANGEBYSCORE', key('leases'), '-inf', digits(now), 'WITHSCORES', 'LIMIT', 0, ARGV[1])
for i = 1, #due, 2 do
  ran_out[#ran_out + 1] = { due[i], call('HGET', key('job:' .. due[i]), 'token') or '', due[i + 1] }
end
return { digits(now), ran_out, call('ZRANGE', key('workers'), 0, -1, 'WITHSCORES') }
