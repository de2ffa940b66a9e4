-- needs: prelude lanes kits
-- Stops a queue from giving out jobs of a type, or lets it go on. Running jobs go on. Its lane is closed or opened: no job moves.
-- KEYS  1 prefix
-- ARGV  1 type   2 1 to pause, 0 to resume
-- Returns 1; 0 when nothing was changed because a worker of the release before lives, which would not obey.
local job_type, now = ARGV[1], now_ms()
local _, old = workers_alive(now)
if ARGV[2] == '1' and old > 0 then return 0 end
call('SREM', key('pauses'), job_type) -- a first write that a full Redis allows
if ARGV[2] == '1' then
  call('SADD', key('pauses'), job_type)
  call('HSETNX', key('meta'), 'gates', '1')
end
refresh_lane(job_type)
ring()
return 1
