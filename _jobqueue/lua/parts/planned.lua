-- A schedule is a hash; `schedules` holds the time when each is due next, inf for one that is paused or has ended.

-- Returns a schedule as {when it is due next, status of its last job or '', the rest of its payload or '';
--   1 when that is left out;   field, value ...}; nil when there is none. `whole`: with the rest of a payload that is large.
local function planned(name, whole)
  local schedule = key('schedule:' .. name)
  local due = call('ZSCORE', key('schedules'), name)
  if not due or call('EXISTS', schedule) == 0 then return nil end
  local fields = { 'rev', 'rule', 'job', 'payload', 'paused', 'created', 'updated', 'fired', 'late', 'skipped', 'missed',
    'last_at', 'last_due', 'last_outcome', 'last_job' }
  local values, row = call('HMGET', schedule, unpack(fields)), {}
  local last = values[#fields] and call('HGET', key('job:' .. values[#fields]), 'status')
  local cut = not whole and call('HSTRLEN', schedule, 'rest') > 0
  row[1], row[2] = due, last or ''
  row[3], row[4] = whole and call('HGET', schedule, 'rest') or '', cut and 1 or 0
  for i, field in ipairs(fields) do
    if values[i] then row[#row + 1], row[#row + 2] = field, values[i] end
  end
  return row
end
