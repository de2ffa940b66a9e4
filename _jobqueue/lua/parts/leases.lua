-- A job in `processing` has a lease, and stands in the list of the slot that runs it.

-- A lease ends with the attempt's timeout, however often it is renewed.
local function lease_end(now, lease_ms, left_ms)
  local TIMEOUT_GRACE_MS = 1000 -- a worker's own timeout comes before the reaper's
  return now + math.min(lease_ms, left_ms + TIMEOUT_GRACE_MS)
end

-- Takes jobs out of `processing`: every way out leads through here, before the new status is written. ZREM comes first: a full
-- Redis allows it as a first write. A lease is the permit of a job under limits, so that goes back here.
--   slot                its list is left to the caller; the lists of other slots lose these jobs here
--   refuse_late         the tokens go too. A settle keeps them, because a repeat of it is answered alike
--   claims              the caller goes on to claim, and opens what `freed` of limits.lua has: a claim that takes the permit again,
--                       for the next that waits, need not open and shut its limit
-- Returns whether a job that waited for a permit may start, and the functions of parts/limits.lua where it has made them.
local function left_processing(jobs, slot, refuse_late, claims)
  local ids, opened, room = {}, false, nil
  for i, job in ipairs(jobs) do ids[i] = job.id end
  call('ZREM', key('leases'), unpack(ids))
  for _, job in ipairs(jobs) do
    local holder = job.token and slot_of(job.token)
    if holder and holder ~= slot then call('LREM', key('processing:' .. holder), 0, job.id) end
    if refuse_late then call('HDEL', key('job:' .. job.id), 'token') end
    local also = job.also
    if also and string.find(also, '[ly]') then -- it may hold permits: they go back, whatever is defined by now
      local job_type = string.find(also, 'y', 1, true) and (call('HGET', key('job:' .. job.id), 'type') or 'echo')
      local limits = string.find(also, 'l', 1, true) and call('HGET', key('job:' .. job.id), 'limits') or ''
      if job_type then limits = 'type:' .. job_type .. (limits == '' and '' or ' ' .. limits) end
      for name in string.gmatch(limits, '%S+') do
        local shut = call('SREM', key('permits:' .. name), job.id) == 1 and call('ZSCORE', key('shut'), name)
        if shut then -- somebody waits for it
          room = room or limits_room(refresh_lane)
          if claims and shut == 'inf' and string.sub(name, 1, 5) ~= 'type:' then
            room.freed = room.freed or {}
            room.freed[#room.freed + 1] = name
          else
            opened = room.open(name) or opened
          end
        end
      end
    end
  end
  return opened, room
end
