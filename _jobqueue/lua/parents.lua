-- needs: prelude parents
-- Reads what has become of the jobs that a job waits for, or has waited for, until it has read a MiB.
-- KEYS  1 prefix
-- ARGV  1 id   2 how many of them to skip   3 most bytes of a result: a longer one is left out
-- Returns {how many there are;   for each of the next {'<id>' or '<id> <name>', status, '' when it is gone;
--   the beginning of its last error or '';   1 when its result is left out, else 0;   pieces of its result ...}};
--   false when there is no such job.
local ENOUGH_BYTES, MESSAGE_BYTES = 1048576, 2000
local from, most = tonumber(ARGV[2]), tonumber(ARGV[3])
if call('EXISTS', key('job:' .. ARGV[1])) == 0 then return false end

local function row_of(text)
  local id = id_of(text)
  local f = call('HMGET', key('job:' .. id), 'status', 'errors')
  local failed = f[1] and f[1] ~= 'done' and f[2]
  local message = failed and call('HGET', key('job:' .. id), 'error:' .. f[2]) or ''
  local row = { text, f[1] or '', string.sub(message, 1, MESSAGE_BYTES), 0 }
  if f[1] ~= 'done' then return row, #row[3] end
  local name, number, bytes = 'result', 0, 0
  local length = call('HSTRLEN', key('job:' .. id), name)
  while length > 0 do -- of some pieces, see _jobqueue/pieces.py
    bytes = bytes + length
    if bytes > most then return { text, f[1], '', 1 }, 0 end
    row[5 + number] = call('HGET', key('job:' .. id), name)
    number = number + 1
    name = 'result.' .. number
    length = call('HSTRLEN', key('job:' .. id), name)
  end
  return row, bytes
end

local parents, rows, bytes = parents_of(ARGV[1]), {}, 0
for i = from + 1, #parents do
  local row, its = row_of(parents[i])
  rows[#rows + 1], bytes = row, bytes + its
  if bytes > ENOUGH_BYTES or #rows == 250 then break end
end
return { #parents, rows }
