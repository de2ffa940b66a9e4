-- seldom
-- Edges: jobs that wait for jobs. In a job's `also` a c stands for children, a p for parents.
--   then:<parent>       zset: the edges, one to each child. The score is the child's `born`, the number of its submit, which tells
--     it from an earlier job of that id: as it is while the edge wants the parent done, plus 2^50 while it wants it ended.
--     It is negative once the edge is closed. A closed one stays, for pictures of the workflow and for the trim.
--   needs               of the child: how many of its edges are open
--   ends                zset, the obligation: jobs that have ended, and whose children have not all been told -> up to which child
--     those of a cancelled job were told, or -1 for one that was done and is gone.

-- Tells the children of the jobs of `owed`, which stand in `ends`, what these are now: what has run again owes nothing. `finish`
-- is `ended`; whom it ends joins `owed`; whose status changes joins the set `changed`, and `tagged` too if its tags count it;
-- `turn` is turn_of, see fair.lua. One call tells TELL_MOST children. Returns {queued = something waits in the queue since, left =
-- somebody is still to be told}.
local function tell_children(owed, now, finish, changed, tagged, turn)
  local TELL_MOST, WANTS_END, ERRORS_KEPT = 250, 2 ^ 50, 100
  local now_text, budget, told, fair = digits(now), TELL_MOST, { queued = false, left = false }, nil

  -- The place of a job that may run from now on.
  local function place_for(job)
    if not fair then
      local meta = call('HMGET', key('meta'), 'fair', 'turns_ended')
      fair = { on = meta[1], over = meta[2], rounds = {} }
    end
    if not (fair.on or fair.over or job.fair_key) then return job.score end
    return turn(fair, job.score, job.fair_key or '', call('HINCRBY', key('meta'), 'seq', 1))
  end

  -- Its last edge is closed. delay: as a submit says it, see submit.lua.
  local function release(job)
    local due, until_ms = tonumber(job.delay), job.expires_ms and digits(now + job.expires_ms)
    if due and string.byte(job.delay) == 43 then due = now + due end
    changed[job.id] = true
    if job.tallied then tagged[job.id] = true end
    call('ZREM', key('blocked'), job.id)
    if due and due > now then
      call('HSET', key('job:' .. job.id), 'status', 'scheduled', 'due', digits(due))
      call('ZADD', key('scheduled'), digits(due), job.id)
    else
      local place = place_for(job)
      call('HSET', key('job:' .. job.id), 'status', 'queued', 'score', place, 'due', now_text)
      call('ZADD', key('queue'), place, job.id)
      told.queued = true
    end
    if until_ms then -- see parts/expiry.lua
      call('HSET', key('job:' .. job.id), 'expires', until_ms)
      call('ZADD', key('expires'), until_ms, job.id)
      call('HSET', key('meta'), 'expires', '1')
    end
  end

  -- What it waits for does not come any more. Where its webhook is told, that makes a job: it counts as three.
  local function cancel(job, parent, why)
    local number = (tonumber(job.errors) or 0) + 1
    local head = table.concat({ now_text, job.attempts or '0', 'parent_gone', '-', '-' }, ' ')
    if number > ERRORS_KEPT then call('HDEL', key('job:' .. job.id), 'error:' .. (number - ERRORS_KEPT)) end
    if job.also and string.find(job.also, 'w', 1, true) then budget = budget - 2 end
    changed[job.id] = true
    call('ZREM', key('blocked'), job.id)
    finish(job, 'cancelled', now_text, 'errors', digits(number), 'error:' .. number,
      head .. '\n' .. 'it waits for the job ' .. parent .. ', which ' .. why)
  end

  local function child_of(id)
    local f = call('HMGET', key('job:' .. id), 'status', 'born', 'also', 'score', 'delay', 'errors', 'attempts', 'tallied',
      'expires_ms', 'fair_key')
    return { id = id, status = f[1], born = f[2], also = f[3] or nil, score = f[4], delay = f[5], errors = f[6], attempts = f[7],
      tallied = f[8], expires_ms = f[9], fair_key = f[10] }
  end

  -- verdict: 'satisfied'; 'cancelled', which leaves the edge open: both may be retried; 'gone', which closes it.
  local function tell(parent, child, score, verdict)
    local born, job, needs = digits(score % WANTS_END), child_of(child), nil
    budget = budget - 1
    if job.born ~= born then return call('ZREM', key('then:' .. parent), child) end -- another job of that id, or none
    if verdict ~= 'cancelled' then
      call('ZADD', key('then:' .. parent), '-' .. born, child)
      needs = call('HINCRBY', key('job:' .. child), 'needs', -1)
    end
    if job.status ~= 'blocked' then return end
    if verdict ~= 'satisfied' then return cancel(job, parent, verdict == 'gone' and 'is gone' or 'was cancelled') end
    if needs <= 0 then release(job) end
  end

  -- Tells the children whose edges stand between two scores. Returns whether all of them have been told.
  local function each(parent, low, high, verdict)
    local rows = call('ZRANGEBYSCORE', key('then:' .. parent), low, high, 'WITHSCORES', 'LIMIT', 0, budget)
    for i = 1, #rows, 2 do
      if budget <= 0 then return false end
      tell(parent, rows[i], tonumber(rows[i + 1]), verdict)
      if verdict == 'cancelled' then call('ZADD', key('ends'), rows[i + 1], parent) end
    end
    return budget > 0
  end

  -- Tells the children of one job. Returns whether all of them have been told.
  local function walk(id)
    local border, status = '(' .. digits(WANTS_END), call('HGET', key('job:' .. id), 'status')
    local so_far = call('ZSCORE', key('ends'), id) or '0'
    if status == 'done' or not status and so_far == '-1' then return each(id, '(0', '+inf', 'satisfied') end
    if not status then return each(id, border, '+inf', 'satisfied') and each(id, '(0', border, 'gone') end
    if status == 'failed' then
      local over = each(id, border, '+inf', 'satisfied')
      if over and call('ZCOUNT', key('then:' .. id), '(0', border) > 0 then call('ZADD', key('stuck'), now_text, id) end
      return over
    end
    if status ~= 'cancelled' then return true end
    return each(id, border, '+inf', 'satisfied') and each(id, '(' .. so_far, border, 'cancelled')
  end

  local at = 1
  while owed[at] and budget > 0 do
    local id = owed[at]
    if walk(id) then
      call('ZREM', key('ends'), id)
      if call('EXISTS', key('job:' .. id)) == 0 then call('DEL', key('then:' .. id)) end
    else
      told.left = true
    end
    at = at + 1
  end
  told.left = told.left or owed[at] ~= nil
  return told
end
