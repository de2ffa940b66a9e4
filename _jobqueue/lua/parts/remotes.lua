-- Workers that speak HTTP. remote:<worker>, a hash, ends by itself, some time after the worker. It has
--   seq                 the highest number of its claims
--   claimed             that of the last one that gave jobs
--   lease               the longest that it has asked for, in ms
--   info                what it is, as members of JSON
--   held:<id>           for each job that it runs: '<token> <timeout in ms> <lease in ms> <started> <type>'

-- Forgets the slot of a claim, once nothing is left of that.
local function drop_slot(slot)
  if call('EXISTS', key('processing:' .. slot)) == 0 then call('HDEL', key('slots'), slot) end
end

-- Says that the worker lives, and what it runs. Its lease_s is for reapers of the release before, which must not end its leases:
-- it is silent for as long as it likes.
local function show_remote(worker, now)
  local KEPT_S, LONGEST_S = 7200, 3600
  local fields, running, info, lease = call('HGETALL', key('remote:' .. worker)), {}, nil, 0
  for i = 1, #fields, 2 do
    local id = string.match(fields[i], '^held:(.*)')
    if id then
      local started, job_type = string.match(fields[i + 1], '^%S+ %d+ %d+ (%d+) (.*)')
      running[#running + 1] = string.format('{"job_id":"%s","type":"%s","since_ms":%s}', id, job_type, started)
    elseif fields[i] == 'info' then
      info = fields[i + 1]
    elseif fields[i] == 'lease' then
      lease = fields[i + 1] / 1000
    end
  end
  if not info then return end
  call('SET', key('worker:' .. worker), string.format('{%s,"http":true,"lease_s":%d,"longest_lease_s":%s,"threads":%d,"running":[%s]}',
    info, LONGEST_S, lease, math.max(1, #running), table.concat(running, ',')))
  call('ZADD', key('workers'), digits(now), worker)
  call('EXPIRE', key('remote:' .. worker), KEPT_S)
end
