-- Returns a job's hash, read by HGETALL, as a table of strings, field -> value, with its id; nil for one that is not there.
local function job_of(id, flat)
  if #flat == 0 then return nil end
  local job = { id = id }
  for i = 1, #flat, 2 do job[flat[i]] = flat[i + 1] end
  return job
end
