-- seldom
-- A submit of jobs that wait for others.

-- Reads the references of a submit, which stand in its ARGV from `at` on. (Where fire.lua submits, the script's own is another one.)
-- For each job that waits: its number in this call, 'done' or 'ended', how many references; for each of these an id, or '#<number>'
-- of an earlier job, and the name under which the job knows it, or ''. Of a job that another stands for it reads nothing.
--   starts              where the jobs begin in ARGV
--   existing            ids of those that stand for them, or ''
-- Returns number -> {wants, ids, names, open, needs}; or the answer to a submit that is refused.
local function read_references(ARGV, at, starts, existing)
  local CHILDREN_MOST = 1000
  local waits, statuses, children, new = {}, {}, {}, {}
  for i, start in ipairs(starts) do
    if existing[i] == '' then new[ARGV[start]] = true end
  end

  -- Learns of a job that another is to wait for; the reason against that, or nil.
  local function look(id, wants)
    if statuses[id] == nil then
      statuses[id] = new[id] and 'queued' or call('HGET', key('job:' .. id), 'status')
      children[id] = new[id] and 0 or call('ZCARD', key('then:' .. id))
    end
    children[id] = children[id] + 1
    if not statuses[id] then return 'unknown' end
    if statuses[id] == 'cancelled' and wants == 'done' then return 'parent_gone' end
    if children[id] > CHILDREN_MOST then return 'full' end
  end

  while ARGV[at] do
    local number, wants, n = tonumber(ARGV[at]), ARGV[at + 1], tonumber(ARGV[at + 2])
    local wait, seen = { wants = wants, ids = {}, names = {}, open = {}, stuck = {}, needs = 0 }, {}
    for i = 1, existing[number] == '' and n or 0 do
      local reference, name = ARGV[at + 1 + 2 * i], ARGV[at + 2 + 2 * i]
      local earlier = tonumber(string.match(reference, '^#(%d+)$'))
      local id = reference
      if earlier then id = existing[earlier] ~= '' and existing[earlier] or ARGV[starts[earlier]] end
      if not seen[id] then
        local reason = look(id, wants)
        if reason then return nil, { 'refused', number, i, reason, id } end
        local status = statuses[id]
        local open = not (status == 'done' or wants == 'ended' and (status == 'failed' or status == 'cancelled'))
        seen[id] = true
        table.insert(wait.ids, id)
        table.insert(wait.names, name)
        table.insert(wait.open, open)
        if open then wait.needs = wait.needs + 1 end
        if open and status == 'failed' then table.insert(wait.stuck, id) end
      end
    end
    if existing[number] == '' then waits[number] = wait end
    at = at + 3 + 2 * n
  end
  return waits
end

-- Stores the edges of new jobs whose hashes are written. `waits`: of read_references, with id, born and due of each.
local function write_edges(waits, now_text)
  local SHOWN, WANTS_END = 4, 2 ^ 50
  local also = {}

  local function add_room(id, room)
    also[id] = also[id] or call('HGET', key('job:' .. id), 'also') or ''
    if not string.find(also[id], room, 1, true) then
      also[id] = also[id] .. room
      call('HSET', key('job:' .. id), 'also', also[id])
    end
  end

  -- The first SHOWN stand in its hash: `after`, `after.1` ..., each an id and perhaps a name.
  local function write_parents(wait)
    local fields, rest = { 'born', wait.born, 'needs', wait.needs }, {}
    for i, id in ipairs(wait.ids) do
      local text = wait.names[i] == '' and id or id .. ' ' .. wait.names[i]
      if i <= SHOWN then
        fields[#fields + 1], fields[#fields + 2] = i == 1 and 'after' or 'after.' .. i - 1, text
      else
        rest[#rest + 1] = text
      end
    end
    if wait.wants == 'ended' then fields[#fields + 1], fields[#fields + 2] = 'when', 'ended' end
    if #rest > 0 then
      fields[#fields + 1], fields[#fields + 2] = 'more_after', #rest
      call('RPUSH', key('after:' .. wait.id), unpack(rest))
    end
    if wait.needs > 0 and wait.due ~= '' then fields[#fields + 1], fields[#fields + 2] = 'delay', wait.due end
    call('HSET', key('job:' .. wait.id), unpack(fields))
  end

  for _, wait in pairs(waits) do
    if #wait.ids > 0 then
      write_parents(wait)
      add_room(wait.id, 'p')
      for i, id in ipairs(wait.ids) do
        local score = not wait.open[i] and -wait.born or wait.born + (wait.wants == 'ended' and WANTS_END or 0)
        call('ZADD', key('then:' .. id), digits(score), wait.id)
        add_room(id, 'c')
      end
      for _, id in ipairs(wait.stuck) do call('ZADD', key('stuck'), now_text, id) end
    end
    if wait.needs > 0 then call('ZADD', key('blocked'), now_text, wait.id) end
  end
end
