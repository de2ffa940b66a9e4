-- needs: prelude tokens living remotes
-- calls: exchange
-- A claim of a worker that speaks HTTP: says that it lives and what it handles, and claims, the way every claim goes. The slot of the
-- claim is its own. A call sent twice gives the same jobs.
-- KEYS  1 prefix
-- ARGV  1 worker   2 seq, '' for a claim that nobody will repeat   3 the number of its slot: the seq, or what none had before
--       4 lease in ms   5 most jobs   6-8 default max_attempts, timeout_ms, backoff_ms   9 its kit   10 the format of its data
--       11 what it is, members of JSON   12... for each type: type, '<max_attempts> <timeout_ms> <backoff_ms>', ''
-- Returns {'jobs', what exchange.lua gives, for each job the time until which it is the worker's};
-- {'seq_used', the highest seq}, {'taken'} when a worker of another sort has the name, {'many_kits'} or {'many_jobs'}: then
-- nothing was claimed.
local worker, seq, slot, lease_ms, kit = ARGV[1], ARGV[2], ARGV[1] .. '-' .. ARGV[3], tonumber(ARGV[4]), ARGV[9]
local KITS_MOST, HELD_MOST = 500, 200 -- of a queue; of a worker
local remote, now, stale, held = key('remote:' .. worker), now_ms(), {}, 0
local last, claimed, longest = unpack(call('HMGET', remote, 'seq', 'claimed', 'lease'))
if seq ~= '' and last and tonumber(seq) < tonumber(last) then return { 'seq_used', last } end
if call('EXISTS', remote) == 0 and call('EXISTS', key('worker:' .. worker)) == 1 and
  not string.find(call('GET', key('worker:' .. worker)), '"http":true', 1, true) then return { 'taken' } end
if call('EXISTS', key('kit:' .. kit)) == 0 and call('ZCARD', key('kits')) >= KITS_MOST then return { 'many_kits' } end
local fields = call('HGETALL', remote)
for i = 1, #fields, 2 do
  local id = string.match(fields[i], '^held:(.*)')
  if id then
    local f, token = call('HMGET', key('job:' .. id), 'status', 'token'), string.match(fields[i + 1], '^%S+')
    if f[1] == 'processing' and f[2] == token then held = held + 1 else stale[#stale + 1] = { fields[i], slot_of(token) } end
  end
end
local again = seq ~= '' and claimed == seq
if held >= HELD_MOST and not again then return { 'many_jobs' } end

call('DEL', key('bell:' .. kit)) -- a first write that a full Redis allows; who leaves work behind rings again
for _, each in ipairs(stale) do
  call('HDEL', remote, each[1])
  drop_slot(each[2])
end
if seq ~= '' then call('HSET', remote, 'seq', seq) end
call('HSET', remote, 'info', ARGV[11], 'lease', math.max(lease_ms, tonumber(longest) or 0))
for i = 12, #ARGV, 3 do call('HSETNX', key('types'), ARGV[i], ARGV[i + 1]) end
live_in(kit, ARGV, 12, (#ARGV - 11) / 3, now, ARGV[10])
local given = { '', 0 }
if not again or call('HEXISTS', key('slots'), slot) == 1 then -- else all of it is settled
  given = exchange({ slot, 1, 0, ARGV[5], ARGV[4], ARGV[6], ARGV[7], ARGV[8], 0, kit, 0 })
end
local until_, at = {}, 3
while given[at] do
  local id, job_type, _, own_ms = unpack(given, at + 1, at + 4)
  if job_type == '' then job_type = 'echo' end
  local timeout_ms = tonumber(own_ms) or tonumber(call('ZSCORE', key('kit:' .. kit), job_type)) or tonumber(ARGV[7])
  local started = call('HGET', key('job:' .. id), 'started')
  local entry = table.concat({ make_token(slot, 1), digits(timeout_ms), ARGV[4], started, job_type }, ' ')
  call('HSET', remote, 'held:' .. id, entry)
  until_[#until_ + 1] = digits(math.min(tonumber(call('ZSCORE', key('leases'), id)), started + timeout_ms))
  at = at + given[at] + 1
end
if #until_ > 0 and seq ~= '' then call('HSET', remote, 'claimed', seq) end
if #until_ == 0 and not again then drop_slot(slot) end
show_remote(worker, now)
return { 'jobs', given, until_ }
