-- needs: prelude expiry jobs parents tags marks
-- Finds, and on demand puts right, what the edges of jobs that wait for others must not be. A lost edge is made anew.
-- KEYS  1 prefix
-- ARGV  1 1 to put it right   2... ids
-- Returns for each {its `needs`, how many of its edges are open, how many are lost;
--   the id of an ended parent that owes it a word and stands not in `ends`, or ''}; false when there is no such job.
local WANTS_END, repair, rows, released = 2 ^ 50, ARGV[1] == '1', {}, {}

-- Returns the score of an edge; nil when it is lost, or belongs to another job of that id.
local function edge_of(parent, job)
  local score = tonumber(call('ZSCORE', key('then:' .. parent), job.id) or nil)
  return score and math.abs(score) % WANTS_END == tonumber(job.born) and score or nil
end

-- Whether what a parent is closes an edge. nil: it is gone.
local function is_satisfied(status, wants_end) return status == 'done' or wants_end and (status == 'failed' or status == 'cancelled') end

local function make_anew(parent, status, job)
  if not status then return 0 end
  local wants_end = job.when == 'ended'
  local open = not is_satisfied(status, wants_end)
  local score = open and job.born + (wants_end and WANTS_END or 0) or -job.born
  local also = call('HGET', key('job:' .. parent), 'also') or ''
  call('ZADD', key('then:' .. parent), digits(score), job.id)
  if not string.find(also, 'c', 1, true) then call('HSET', key('job:' .. parent), 'also', also .. 'c') end
  return open and 1 or 0
end

local function row_of(job)
  local open, lost, forgotten = 0, 0, ''
  for _, text in ipairs(parents_of(job.id)) do
    local parent = id_of(text)
    local score, status = edge_of(parent, job), call('HGET', key('job:' .. parent), 'status')
    if score and score > 0 then
      open = open + 1
      local told = status and not is_satisfied(status, score > WANTS_END) or call('ZSCORE', key('ends'), parent)
      if not told then
        forgotten = parent
        if repair then call('ZADD', key('ends'), 0, parent) end
      end
    elseif not score and status then -- of one that is gone nothing stays
      lost = lost + 1
      if repair then open = open + make_anew(parent, status, job) end
    end
  end
  return { job.needs or '', open, lost, forgotten }
end

for i = 2, #ARGV do
  local job = job_of(ARGV[i], call('HGETALL', key('job:' .. ARGV[i])))
  rows[i - 1] = job and row_of(job) or false
  if job and repair then
    local open = rows[i - 1][2]
    call('HSET', key('job:' .. job.id), 'needs', open)
    if job.status == 'blocked' and open == 0 then
      released[job.id] = true
      if job.tallied then TAGGED[job.id] = true end
      call('ZREM', key('blocked'), job.id)
      call('HSET', key('job:' .. job.id), 'status', 'queued', 'due', digits(now_ms()))
      call('ZADD', key('queue'), job.score, job.id)
      if job.expires_ms then may_start_until(job.id, digits(now_ms() + job.expires_ms)) end
    end
  end
end
if repair then
  if next(TAGGED) then pcall(count_tags, TAGGED, now_ms()) end
  local rev = next(released) and call('HGET', key('meta'), 'rev')
  if rev then mark(rev, now_ms(), released) end
  ring()
end
return rows
