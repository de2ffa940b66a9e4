-- Deletes a job and every trace of it.

-- Returns the job's status and what erase has to know of it; not what may be large.
local function traces_of(id)
  local f = call('HMGET', key('job:' .. id), 'status', 'idem', 'created', 'tags', 'unique', 'kind')
  return { status = f[1], idem = f[2], created = f[3], tags = f[4] or nil, unique = f[5], kind = f[6] }
end

-- Deletes a job's hash and all other traces but its entry in its status's index, which the caller has removed. Its idempotency
-- key lives as long as the last of its jobs, and at least IDEMPOTENCY_MS. `gone`: nil, or what the record has still to learn of
-- it, from the hash gone:<id>: 'trimmed', all that there was; 'deleted', that it was deleted, and nothing of what it held.
local function erase(id, job, now, gone)
  if gone == 'trimmed' then
    call('RENAME', key('job:' .. id), key('gone:' .. id))
  elseif gone then
    local names = { 'status', 'type', 'score', 'attempts', 'created', 'due', 'started', 'finished', 'token', 'tags' }
    local shell = { 'deleted', digits(now) }
    for i, value in ipairs(call('HMGET', key('job:' .. id), unpack(names))) do
      if value then shell[#shell + 1], shell[#shell + 2] = names[i], value end
    end
    call('DEL', key('job:' .. id), key('gone:' .. id))
    call('HSET', key('gone:' .. id), unpack(shell))
  else
    call('DEL', key('job:' .. id))
  end
  if job.kind then unfile(job.kind, id) end
  for tag in string.gmatch(job.tags or '', '%S+') do call('ZREM', key('tag:' .. tag), id) end
  if job.unique and call('GET', key('unique:' .. job.unique)) == id then call('DEL', key('unique:' .. job.unique)) end
  if job.idem and call('HINCRBY', key('idem:' .. job.idem), 'jobs', -1) <= 0 then
    call('PEXPIRE', key('idem:' .. job.idem), digits(math.max(1, (tonumber(job.created) or 0) + IDEMPOTENCY_MS - now)))
  end
end
