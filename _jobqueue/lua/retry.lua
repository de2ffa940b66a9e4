-- needs: prelude expiry places unique taken kinds fair tags webhooks marks
-- An operator's retry: failed or cancelled jobs are queued again, last of their priority, with a new count of attempts. One that
-- has open edges is blocked again. One that must start within some time has that time anew, unless it has started before.
-- A call sent twice with the same request retries once.
-- KEYS  1 prefix
-- ARGV  1 name of this request   2 number of ids   3... ids, then another payload, if they shall have one: field, value ...
-- Returns for each 'retried', or what forbids it: the status, or 'taken' by another job with its unique key; false when there
-- is no such job.
local request, n = ARGV[1], tonumber(ARGV[2])
local answers, jobs, named, retried, meta, fair = {}, {}, {}, {}, nil, nil

-- Queues an ended job again, or blocks it. It has left its index.
local function start_anew(job)
  local now_text, open = digits(now_ms()), tonumber(job.needs or 0) > 0
  local seq = call('HINCRBY', key('meta'), 'seq', 1)
  local score = place_of(priority_of(job.score), seq)
  if not open and (fair.on or job.fair_key) then score = turn_of(fair, score, job.fair_key or '', seq) end
  call('HDEL', key('job:' .. job.id), 'token', 'cancel', 'finished', 'started', 'kind', 'asked', 'snoozes',
    'snoozed')
  call('HSET', key('job:' .. job.id), 'status', 'queued', 'score', score, 'attempts', '0', 'retry', request, 'due', now_text)
  if job.kind then unfile(job.kind, job.id) end
  if job.also and string.find(job.also, 'd', 1, true) then note_delivery(job.id, now_text) end
  if job.unique then call('SET', key('unique:' .. job.unique), job.id) end
  if job.expires_ms then
    call('HDEL', key('job:' .. job.id), 'expires', job.has_started and 'expires_ms' or '')
    if not job.has_started and not open then may_start_until(job.id, digits(now_text + job.expires_ms)) end
  end
  if open then
    call('HSET', key('job:' .. job.id), 'status', 'blocked')
    call('ZADD', key('blocked'), now_text, job.id)
  else
    call('ZADD', key('queue'), score, job.id)
  end
end

for i = 1, n do
  local id = ARGV[2 + i]
  local f = call('HMGET', key('job:' .. id), 'status', 'score', 'retry', 'unique', 'kind', 'needs', 'tallied', 'expires_ms',
    'attempts', 'snoozes', 'fair_key', 'also')
  local job = { id = id, status = f[1], score = f[2], unique = f[4], kind = f[5], needs = f[6], tallied = f[7],
    expires_ms = f[8], has_started = f[10] or (f[9] or '0') ~= '0', fair_key = f[11], also = f[12] }
  if f[3] == request then
    answers[i] = 'retried'
  elseif job.status ~= 'failed' and job.status ~= 'cancelled' then
    answers[i] = job.status
  elseif job.unique and (named[job.unique] or unique_taken(id, job)) then
    answers[i] = 'taken'
  else
    answers[i] = 'retried'
    jobs[#jobs + 1] = job
    if job.unique then named[job.unique] = true end
  end
end

if #jobs > 0 then
  meta = call('HMGET', key('meta'), 'bells', 'gates', 'rev', 'fair')
  fair = { on = meta[4], rounds = {} }
end
for _, job in ipairs(jobs) do
  call('ZREM', key(job.status), job.id)
  start_anew(job)
  retried[job.id] = true
  if job.tallied then TAGGED[job.id] = true end
  if #ARGV > 2 + n then
    for piece = 1, 7 do call('HDEL', key('job:' .. job.id), 'payload.' .. piece) end
    call('HSET', key('job:' .. job.id), unpack(ARGV, 3 + n))
  end
end
if #jobs > 0 then
  local now = now_ms()
  count('requeued', #jobs, now)
  if next(TAGGED) then pcall(count_tags, TAGGED, now) end
  if meta[3] then mark(meta[3], now, retried) end
  ring(meta)
end
return answers
