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
-- Returns whether a job that waited for a permit may start, and the functions of parts/limits.lua where it has made them.
local function left_processing(jobs, slot, refuse_late)
  local ids, opened, room = {}, false, nil
  for i, job in ipairs(jobs) do ids[i] = job.id end
  call('ZREM', key('leases'), unpack(ids))
  for _, job in ipairs(jobs) do
    local holder = job.token and slot_of(job.token)
    if holder and holder ~= slot then call('LREM', key('processing:' .. holder), 0, job.id) end
    if refuse_late then call('HDEL', key('job:' .. job.id), 'token') end
    local waited_for = job.also and string.find(job.also, '[ly]') and return_permits(job.id, job.also)
    if waited_for then
      room = room or limits_room(refresh_lane)
      for _, name in ipairs(waited_for) do opened = room.open(name) or opened end
    end
  end
  return opened, room
end
