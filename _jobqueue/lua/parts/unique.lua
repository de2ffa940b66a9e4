-- seldom
-- A unique key belongs to one job that has not ended.

local function lives(id)
  local status = call('HGET', key('job:' .. id), 'status')
  return status == 'queued' or status == 'scheduled' or status == 'blocked' or status == 'processing'
end
