-- needs: prelude jobs policy
-- Reads jobs that the record lacks, as they are, those that have waited longest first. Notes that the record's process lives.
-- KEYS  1 prefix
-- ARGV  1-3 default max_attempts, timeout_ms, backoff_ms   4 most jobs   5 bytes that are enough   6 what the process says of itself
-- Returns {revision of the queue, '' where no record is kept;
--   what was noted by the read before, in ms, or '';   what is noted now;   how many marks there are;
--   jobs: {id, revision, 'kept', 'trimmed', 'deleted' or 'lost', fields and values, max_attempts, timeout_ms, backoff_ms} ...}.
local defaults, enough = { ARGV[1], ARGV[2], ARGV[3] }, tonumber(ARGV[5])
local now, meta = now_ms(), call('HMGET', key('meta'), 'rev', 'history')
if not meta[1] then return { '', '', '', 0, {} } end
local before = string.match(meta[2] or '', '^%d+') or ''
local at = digits(math.max(now, tonumber(before) or 0)) -- it goes back only where Redis has lost changes

local rows, bytes = {}, 0
local marks = call('ZRANGEBYSCORE', key('unsaved'), '(0', '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[4])
for i = 1, #marks, 2 do
  local state, flat = 'kept', call('HGETALL', key('job:' .. marks[i]))
  if #flat == 0 then state, flat = 'trimmed', call('HGETALL', key('gone:' .. marks[i])) end
  local job = job_of(marks[i], flat)
  if job and job.more_after and state == 'kept' then -- those of one that was trimmed stand in gone:<id>
    flat[#flat + 1], flat[#flat + 2] = 'after:', table.concat(call('LRANGE', key('after:' .. marks[i]), 0, -1), '\n')
  end
  if not job then state = 'lost' elseif job.deleted then state = 'deleted' end
  rows[#rows + 1] = { marks[i], marks[i + 1], state, flat, policy_of(job or {}, defaults) }
  for _, text in ipairs(flat) do bytes = bytes + #text end
  if bytes > enough then break end
end
call('HDEL', key('meta'), 'history') -- a first write that a full Redis allows
call('HSET', key('meta'), 'history', at .. ' ' .. ARGV[6])
return { meta[1], before, at, call('ZCARD', key('unsaved')), rows }
