-- needs: prelude unique
-- calls: submit
-- A due time of a schedule has come: submits its job, the way every submit goes, and sets when it is due next. Or an operator
-- runs it now, which changes nothing about that. A call sent twice finds the due time moved, or the job there.
-- KEYS  1 prefix
-- ARGV  1 name   2 its revision
--       3 when it is due, as the caller has read it; '' when an operator runs it
--       4 when it is due from now on, ms since the epoch, or 'inf' for never
--       5 the latest due time that is over with this
--       6 how many due times before it, or it as well, pass without a job
--       7 ms since the epoch after which it is too late for the job, '' for never
--       8 1: no job while the last one has not ended
--       9 ms behind its time that a job is late
--       10 the job's id   11... what submit.lua takes, for this one job; neither when all due times pass
-- Returns {'fired' or 'skipped' or 'missed' or 'refused', the id of a living job that has the unique key, or ''};
--   {'moved'} when it is not due then any more, {'late'} when it is too late: nothing has changed.
--   Else what submit.lua says of the queue's number, or to an operator of a full queue. A due time that meets a full one is missed.
local name, due, next_due, over = ARGV[1], ARGV[3], ARGV[4], ARGV[5]
local schedule, now, passed = key('schedule:' .. name), now_ms(), tonumber(ARGV[6])
local f = call('HMGET', schedule, 'rev', 'last_job')
if f[1] ~= ARGV[2] then return { 'moved' } end
if due ~= '' and call('ZSCORE', key('schedules'), name) ~= due then return { 'moved' } end
if ARGV[7] ~= '' and now > tonumber(ARGV[7]) then return { 'late' } end

local outcome, existing, job, made = 'missed', '', nil, false
if #ARGV > 9 and ARGV[8] == '1' and f[2] and lives(f[2]) then
  outcome = 'skipped'
elseif #ARGV > 9 then
  local said = submit({ unpack(ARGV, 11) })
  if said[1] == 'number' or said[1] == 'full' and due == '' then return said end
  made = type(said) == 'string' or said[1] == 'stored' and said[4][1] == ''
  job = (made or said[1] == 'replayed') and ARGV[10]
  if job then
    outcome = 'fired'
  elseif said[1] ~= 'full' then -- for that one the time is missed
    outcome = said[1] == 'stored' and 'skipped' or 'refused'
  end
  existing = said[1] == 'stored' and said[4][1] or '' -- of a text it is nil
  if outcome == 'refused' or outcome == 'missed' then passed = passed + 1 end
end

if due ~= '' then
  call('ZREM', key('schedules'), name) -- a first write that a full Redis allows, where no job was made
  call('ZADD', key('schedules'), next_due, name)
  call('HSET', schedule, 'last_due', over)
end
local late = made and due ~= '' and now - over > tonumber(ARGV[9])
for what, n in pairs({ fired = made and 1 or 0, late = late and 1 or 0, skipped = outcome == 'skipped' and 1 or 0, missed = passed }) do
  if n > 0 then
    call('HINCRBY', schedule, what, n)
    count('schedules_' .. what, n, now)
  end
end
call('HSET', schedule, 'last_outcome', outcome, 'last_at', digits(now))
if job then call('HSET', schedule, 'last_job', job) end
return { outcome, existing }
