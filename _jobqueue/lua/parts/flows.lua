-- A submit of jobs that wait for others. These functions use no locals of the file: jobs that wait for none pay nothing for them.

-- Reads the references that stand in ARGV from `at` on: for each job that waits its number in this call, 'done' or 'ended', how many
-- references, and for each of these '#<number>' of an earlier job or an id, and the name under which the job knows it, or ''.
-- `starts`: where the jobs begin in ARGV; `existing`: ids of those that stand for them, or ''. Returns number -> {wants, ids, names,
-- open, needs}; or the answer to a submit that is refused. Of a job that another stands for it reads nothing.
local function read_references(at, starts, existing)
  local CHILDREN_MOST, call, prefix = 1000, redis.call, KEYS[1]
  local waits, statuses, children = {}, {}, {}

  -- Learns of a job that another is to wait for; the reason against that, or nil.
  local function look(id, new, wants)
    if statuses[id] == nil then
      statuses[id] = new and 'queued' or call('HGET', prefix .. 'job:' .. id, 'status')
      children[id] = new and 0 or call('ZCARD', prefix .. 'then:' .. id)
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
      local new = earlier and existing[earlier] == ''
      local id = earlier and (new and ARGV[starts[earlier]] or existing[earlier]) or reference
      if not seen[id] then
        local reason = look(id, new, wants)
        if reason then return nil, { 'refused', number, i, reason, id } end
        local status = statuses[id]
        local ended = status == 'failed' or status == 'cancelled'
        local open = not (status == 'done' or wants == 'ended' and ended)
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
  local SHOWN, WANTS_END, call, prefix = 4, 2 ^ 50, redis.call, KEYS[1]
  local also = {}

  local function add_room(id, room)
    also[id] = also[id] or call('HGET', prefix .. 'job:' .. id, 'also') or ''
    if not string.find(also[id], room, 1, true) then
      also[id] = also[id] .. room
      call('HSET', prefix .. 'job:' .. id, 'also', also[id])
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
      call('RPUSH', prefix .. 'after:' .. wait.id, unpack(rest))
    end
    if wait.needs > 0 and wait.due ~= '' then fields[#fields + 1], fields[#fields + 2] = 'delay', wait.due end
    call('HSET', prefix .. 'job:' .. wait.id, unpack(fields))
  end

  for _, wait in pairs(waits) do
    if #wait.ids > 0 then
      write_parents(wait)
      add_room(wait.id, 'p')
      for i, id in ipairs(wait.ids) do
        local score = not wait.open[i] and -wait.born or wait.born + (wait.wants == 'ended' and WANTS_END or 0)
        call('ZADD', prefix .. 'then:' .. id, string.format('%.0f', score), wait.id)
        add_room(id, 'c')
      end
      for _, id in ipairs(wait.stuck) do call('ZADD', prefix .. 'stuck', now_text, id) end
    end
    if wait.needs > 0 then call('ZADD', prefix .. 'blocked', now_text, wait.id) end
  end
end
