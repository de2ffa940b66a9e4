-- Takes jobs out of the side lanes, and counts them in.

-- Takes a job out of its lane. `job_type` is false where its hash names none, or is lost: then its lane is searched for.
local function unpark(id, job_type)
  local types, held = { job_type or nil }, call('ZREM', key('held'), id) == 1
  if held and not job_type then
    types = call('SMEMBERS', key('pauses'))
    for _, open in ipairs(call('ZRANGE', key('lanes'), 0, -1)) do types[#types + 1] = open end
  end
  for _, each in ipairs(types) do
    if call('ZREM', key('lane:' .. each), id) == 1 then held = refresh_lane(each) end
  end
  local limits = held and call('HGET', key('job:' .. id), 'limits')
  if limits then limits_room(refresh_lane).unpark(id, job_type or DEFAULT_TYPE, limits) end
end

-- Takes a job out of the queue, wherever it waits there.
local function unqueue(id)
  if call('ZREM', key('queue'), id) == 0 then unpark(id, call('HGET', key('job:' .. id), 'type')) end
end

-- How many jobs stand in front of a queued one, parked ones included; -1 when it does not wait.
local function ahead_of(id)
  local index, other = 'queue', 'held'
  local score = call('ZSCORE', key(index), id)
  if not score then
    index, other = 'held', 'queue'
    score = call('ZSCORE', key(index), id)
  end
  return score and call('ZRANK', key(index), id) + call('ZCOUNT', key(other), '-inf', '(' .. score) or -1
end
