-- needs: prelude jobs policy lanes limits parked
-- Reads jobs as lists show them: of a payload or a result above SHOWN_BYTES its beginning, the latest errors, the end of the log.
-- KEYS  1 prefix
-- ARGV  1-3 default max_attempts, timeout_ms, backoff_ms   4 the index that the caller has found them in, '' for any
--       5 the status that they must have, '' for any   6... ids
-- Returns for each of the first ids, one at least, {fields and values, with `truncated`, the names of what is cut;
--   jobs in front of it or -1;   max_attempts, timeout_ms, backoff_ms}; false for one that is not there any more.
local SHOWN_BYTES, TOLD_BYTES = 2048, 8192        -- of a payload or a result; of the errors, and of the log
local ENOUGH_BYTES, TOUCHED_BYTES = 1048576, 4194304 -- for one answer; to be read for it
local defaults, index, wanted = { ARGV[1], ARGV[2], ARGV[3] }, ARGV[4], ARGV[5]
local answered, touched = 0, 0

local function length(id, field) return call('HSTRLEN', key('job:' .. id), field) end

-- A payload or a result stands in one value, or its beginning of SHOWN_BYTES and the rest in two.
local function too_long(id, name)
  local first = length(id, name)
  return first > SHOWN_BYTES or (first == SHOWN_BYTES and length(id, name .. '.1') > 0)
end

-- Returns the names of the latest errors, at least of one, where there are more than may be shown; else nil.
local function too_many_errors(id, count)
  local names, bytes = {}, 0
  for number = count, 1, -1 do
    local name = 'error:' .. number
    local more = length(id, name)
    if more == 0 then return nil end -- older ones are not kept
    bytes = bytes + more
    if bytes > TOLD_BYTES then return names[1] and names or { name } end
    names[#names + 1] = name
  end
end

-- Adds a field that is cut to flat.
local function add_cut(flat, id, name, from, to)
  local value = call('HGET', key('job:' .. id), name)
  touched = touched + #value
  flat[#flat + 1], flat[#flat + 2] = name, string.sub(value, from, to)
end

-- Returns fields and values of a job some of which is too long. `cut`: names of such fields -> true. `errors`: names of those to
-- show, nil for all.
local function part_of(id, cut, errors)
  local names, flat, told = {}, {}, {}
  for _, name in ipairs(call('HKEYS', key('job:' .. id))) do
    local of = string.match(name, '^([a-z]+)%.%d+$') or name
    if not cut[of] and not (errors and string.match(name, '^error:')) then names[#names + 1] = name end
  end
  if errors and length(id, errors[1]) > TOLD_BYTES then
    add_cut(flat, id, errors[1], 1, TOLD_BYTES)
  else
    for _, name in ipairs(errors or {}) do names[#names + 1] = name end
  end
  local values = call('HMGET', key('job:' .. id), unpack(names))
  for i, name in ipairs(names) do flat[#flat + 1], flat[#flat + 2] = name, values[i] or '' end
  for _, name in ipairs({ 'payload', 'result' }) do
    if cut[name] then
      add_cut(flat, id, name, 1, SHOWN_BYTES)
      told[#told + 1] = name
    end
  end
  if errors then told[#told + 1] = 'errors' end
  if cut.log then
    add_cut(flat, id, 'log', -TOLD_BYTES, -1)
    told[#told + 1] = 'log'
  end
  flat[#flat + 1], flat[#flat + 2] = 'truncated', table.concat(told, ' ')
  return flat
end

local function row_of(id)
  local f = call('HMGET', key('job:' .. id), 'status', 'errors')
  if not f[1] or (wanted ~= '' and f[1] ~= wanted) then return false end
  local parked = index == 'queue' and call('ZSCORE', key('held'), id)
  if index ~= '' and not parked and not call('ZSCORE', key(index), id) then return false end
  local errors = too_many_errors(id, tonumber(f[2] or 0) or 0)
  local cut = { payload = too_long(id, 'payload'), result = too_long(id, 'result'), log = length(id, 'log') > TOLD_BYTES }
  local whole = not (cut.payload or cut.result or cut.log or errors)
  local flat = whole and call('HGETALL', key('job:' .. id)) or part_of(id, cut, errors)
  for _, text in ipairs(flat) do answered = answered + #text end
  local ahead = f[1] == 'queued' and ahead_of(id) or -1
  return { flat, ahead, policy_of(job_of(id, flat), defaults) }
end

local rows = {}
for i = 6, #ARGV do
  rows[#rows + 1] = row_of(ARGV[i])
  if answered > ENOUGH_BYTES or touched > TOUCHED_BYTES then break end
end
return rows
