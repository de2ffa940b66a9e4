-- Who else has a job's unique key.

-- Another job that has not ended holds this one's unique key.
local function unique_taken(id, job)
  local holder = job.unique and call('GET', key('unique:' .. job.unique))
  return holder and holder ~= id and lives(holder)
end
