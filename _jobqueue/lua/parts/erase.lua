-- Deletes a job and every trace of it.

-- Returns the job's status and what erase has to know of it; not what may be large.
local function traces_of(id)
  local f = call('HMGET', key('job:' .. id), 'status', 'idem', 'created', 'tags', 'unique', 'kind', 'also', 'tallied')
  return { status = f[1], idem = f[2], created = f[3], tags = f[4] or nil, unique = f[5], kind = f[6], also = f[7],
    tallied = f[8] }
end

-- Deletes a job's hash and all other traces but its entry in its status's index, which the caller has removed. Its idempotency
-- key lives as long as the last of its jobs, and at least IDEMPOTENCY_MS. Its children are told, and its tags count it as what it
-- is from now on, by write_ends. `how`: 'trimmed' or 'deleted'. `told`: the record has still to learn of it, from the hash gone:<id>;
-- of one that was trimmed, all that there was; of one that was deleted only that, and nothing of what it held.
local function erase(id, job, now, how, told)
  if job.also and string.find(job.also, 'c', 1, true) then
    call('ZADD', key('ends'), job.status == 'done' and -1 or 0, id)
    OWED = OWED or {}
    OWED[#OWED + 1] = id
  end
  if job.also and string.find(job.also, 'd', 1, true) then note_delivery(id, 'done') end -- whatever it was
  if job.also and string.find(job.also, 'p', 1, true) then
    local more = told and how == 'trimmed' and call('LRANGE', key('after:' .. id), 0, -1) or {}
    if #more > 0 then call('HSET', key('job:' .. id), 'after:', table.concat(more, '\n')) end
    call('DEL', key('after:' .. id))
  end
  if told and how == 'trimmed' then
    call('RENAME', key('job:' .. id), key('gone:' .. id))
  elseif told then
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
  if job.tags then
    for tag in string.gmatch(job.tags, '%S+') do call('ZREM', key('tag:' .. tag), id) end
    TAGGED[id] = { job.tags, job.tallied, how, tonumber(job.created) or now }
  end
  if job.unique and call('GET', key('unique:' .. job.unique)) == id then call('DEL', key('unique:' .. job.unique)) end
  if job.idem and call('HINCRBY', key('idem:' .. job.idem), 'jobs', -1) <= 0 then
    call('PEXPIRE', key('idem:' .. job.idem), digits(math.max(1, (tonumber(job.created) or 0) + IDEMPOTENCY_MS - now)))
  end
end
