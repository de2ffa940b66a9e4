-- needs: prelude tokens by_type remotes
-- calls: exchange
-- Settles a job that a worker holds who speaks HTTP, the way every settlement goes, and counts it for its type. A call sent twice
-- settles and counts once.
-- KEYS  1 prefix
-- ARGV  1 upper bounds in ms of the buckets that times are counted in   2... what exchange.lua takes, to settle one job
-- Returns {'settled', 1 when children are still to be told of its end, else 0}; {'lost'} when the token is not the job's;
--   {} when there is no such job.
local ID, TOKEN, OUTCOME = 13, 14, 15 -- in ARGV
local id, token, outcome, now = ARGV[ID], ARGV[TOKEN], ARGV[OUTCOME], now_ms()
local before = call('HMGET', key('job:' .. id), 'status', 'token', 'type', 'attempts', 'started', 'due', 'created')
if not before[1] then return {} end
local settled, left = unpack(exchange({ unpack(ARGV, 2) }))
if settled == '0' then return { 'lost' } end

local counts = {}
local function add_time(kind, ms)
  local bucket = 'inf'
  for bound in string.gmatch(ARGV[1], '%d+') do
    if ms <= tonumber(bound) then
      bucket = bound
      break
    end
  end
  counts[string.format('%s:%s', kind, bucket)], counts[kind .. ':sum'] = 1, math.floor(ms)
end

if before[1] == 'processing' and before[2] == token then
  local slot = slot_of(token)
  local worker = slot and worker_of(slot)
  if worker then
    call('HDEL', key('remote:' .. worker), 'held:' .. id)
    drop_slot(slot)
    show_remote(worker, now)
  end
  if outcome ~= 'released' then
    local started = tonumber(before[5]) or now
    add_time('run', math.max(0, now - started))
    if before[4] == '1' then add_time('wait', math.max(0, started - (before[6] or before[7] or started))) end
    for name, n in pairs(counts) do count(name, n, now) end
    if outcome == 'done' or outcome == 'failed' then counts[outcome] = 1 end
    pcall(count_by_type, { before[3] or 'echo', cjson.encode(counts) }, now)
  end
end
return { 'settled', left > 1 and 1 or 0 }
