-- A job's hash, read into a table of strings, field -> value.

local function table_of(flat)
  if #flat == 0 then return nil end
  local job = {}
  for i = 1, #flat, 2 do job[flat[i]] = flat[i + 1] end
  return job
end

-- Returns the job with its id, or nil.
local function job_of(id)
  local job = table_of(call('HGETALL', key('job:' .. id)))
  if job then job.id = id end
  return job
end
