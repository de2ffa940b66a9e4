-- A unique key belongs to one job that has not ended.

local function lives(id)
  local status = call('HGET', key('job:' .. id), 'status')
  return status == 'queued' or status == 'scheduled' or status == 'processing'
end

-- Another job that has not ended holds this one's unique key.
local function unique_taken(id, job)
  local holder = job.unique and call('GET', key('unique:' .. job.unique))
  return holder and holder ~= id and lives(holder)
end
