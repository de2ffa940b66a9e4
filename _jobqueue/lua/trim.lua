-- needs: prelude kinds places fair tags webhooks edges ends erase marks
-- Deletes ended jobs that are past their retention, hash and index together. One that a child has behind it which may still read
-- it is kept for a while, but not while another child waits for it: they might wait for each other. The hash of one that the
-- record lacks is renamed.
-- KEYS  1 prefix
-- ARGV  1 index: done, failed or cancelled   2 retention in ms   3 most jobs to delete
-- Returns how many ids it has looked at: as many as asked for means that there may be more.
local index, kept_ms = ARGV[1], tonumber(ARGV[2])
local now = now_ms()
local ids = call('ZRANGEBYSCORE', key(index), '-inf', digits(now - kept_ms), 'LIMIT', 0, ARGV[3])
if #ids == 0 then return 0 end
local old, read, gone, looks = {}, {}, {}, 0

-- Whether a child stands between two scores whose status is none of `others`.
local function has_child(id, low, high, others)
  for _, child in ipairs(call('ZRANGEBYSCORE', key('then:' .. id), low, high)) do
    looks = looks + 1
    if not others[call('HGET', key('job:' .. child), 'status') or 'gone'] then return true end
  end
  return false
end

-- Whether a child may read it and none waits for it.
local function is_read(id)
  local ENDED, NOT_BLOCKED = { done = true, cancelled = true, gone = true }, {}
  for _, status in ipairs({ 'queued', 'scheduled', 'processing', 'done', 'failed', 'cancelled', 'gone' }) do
    NOT_BLOCKED[status] = true
  end
  return not has_child(id, '(0', '+inf', NOT_BLOCKED) and has_child(id, '-inf', '(0', ENDED)
end

local LOOKS, AGAIN_MS = 1000, 60000 -- at children; how much later a job that is read is looked at again
for _, id in ipairs(ids) do
  local job = traces_of(id)
  local parent = job.also and string.find(job.also, 'c', 1, true)
  if parent and looks >= LOOKS then break end
  if parent and job.status == index and is_read(id) then
    read[#read + 1], read[#read + 2] = digits(now - kept_ms + AGAIN_MS), id
  else
    gone[#gone + 1] = id
    if job.status == index then old[id] = job end
  end
end

local rev = next(old) and call('HGET', key('meta'), 'rev')
if #gone > 0 then call('ZREM', key(index), unpack(gone)) end
if #read > 0 then
  call('ZREM', key('ends'), '') -- a first write that a full Redis allows
  call('ZADD', key(index), unpack(read))
end
local n, changed = 0, {}
for id, job in pairs(old) do
  erase(id, job, now, 'trimmed', rev and call('ZSCORE', key('unsaved'), id))
  n = n + 1
end
if n > 0 then count('trimmed', n, now) end
local told = write_ends(now, changed)
if rev then mark(rev, now, changed) end
if told and told.queued then ring() end
local all = #gone + #read / 2 == #ids
return all and #ids or tonumber(ARGV[3])
