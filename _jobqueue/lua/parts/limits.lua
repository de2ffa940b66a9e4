-- seldom limits
-- Limits: how many jobs that name one may run at once, and how many may start in a time. Keys:
--   limits, patterns    hash: name, or one that ends in *, -> '<max_running or 0> <starts or 0> <per_s or 0> <c while it counts, or ->'
--   counting            hash: a definition that still counts what runs -> cursor of its walk over `leases`
--   limited             zset: names that are defined, or run or wait, all at score 0
--   permits:<name>      set: ids in `processing` under it. `also` of a job's hash has an l when it may hold permits
--   starts:<name>       list: when the last claims under it were made, the latest first
--   shut                zset: names that somebody waits for -> when they open by time, inf when an end opens them
--   lane:<type> <limits>  zset: parked jobs that name these limits. A lane stands under one limit: the one last found shut, else
--     the first.
--   under               hash: lane -> that limit
--   group:<type> <name>  zset: the first scores of the lanes of a type under a limit
--   groups:<type>       zset: the first score of each group whose limit is not in `shut`
--   waits:<name>        set: the types of its groups
-- So a limit opens and shuts in as many steps as there are types that wait for it, however many jobs and lanes. The limit of a type
-- itself is type:<type>: while it is in `shut`, the type is not in `lanes`.

-- Returns functions, in a table; some are made when they are first needed. Those that every claim needs use no local of another
-- function: such a one is made for next to nothing. Who does not call this one pays nothing for them. `refresh_lane`: of
-- parts/lanes.lua.
local function limits_room(refresh_lane)
  -- A table with all of its fields is made at once; one that grows is made anew. Numbers in a command are texts: Redis takes longer
  -- to write a number than to run most commands.
  local room = {
    changed = false, -- what waits aside, since somebody has looked
    puts_off = false, -- what is to be refreshed is only noted, in `late`, until room.catch_up(): before somebody reads it, and at the end
    late = false,
    open_type = false,
    freed = false, -- names that have got room and are shut still, see leases.lua
    freed_at = 0, -- the score of the first job that waits for it, where that is known
    rings = false, -- somebody may start who has waited for one of them
    known = {}, -- name -> what limits it; '' -> the patterns

    -- The names that hold a job back: that of its type, then its own. `limits`: separated by blanks, or false.
    names_of = function(job_type, limits)
      if not limits then return { 'type:' .. job_type } end
      if not string.find(limits, ' ', 1, true) then return { 'type:' .. job_type, limits } end
      local names = { 'type:' .. job_type }
      for name in string.gmatch(limits, '%S+') do names[#names + 1] = name end
      return names
    end,

    -- Learns what limits these names: {max, starts, per_ms, counting, by: the definition's own name, running, is_open: a
    -- claim has found it so}, or false. The exact
    -- definition counts, else that of the longest pattern.
    look_up = function(self, names)
      local known = self.known
      local texts = redis.call('HMGET', KEYS[1] .. 'limits', ' ', unpack(names)) -- the field ' ' says that there are patterns
      if texts[1] and not known[''] then
        local flat, patterns, lengths = redis.call('HGETALL', KEYS[1] .. 'patterns'), {}, {}
        for at = 1, #flat, 2 do
          local length = #flat[at] - 1
          local start = string.sub(flat[at], 1, length)
          if not patterns[length] then patterns[length], lengths[#lengths + 1] = {}, length end
          patterns[length][start] = flat[at + 1]
        end
        if lengths[2] then table.sort(lengths, function(one, other) return one > other end) end
        known[''], patterns.lengths = patterns, lengths
      end
      local patterns = known['']
      for i = 1, #names do
        local name = names[i]
        if known[name] == nil then
          local text, by = texts[i + 1], name
          if not text and patterns then
            for _, length in ipairs(patterns.lengths) do -- the longest first
              by = string.sub(name, 1, length)
              text = #name >= length and patterns[length][by]
              if text then
                by = by .. '*'
                break
              end
            end
          end
          local max, starts, per_s, state = string.match(text or '', '^(%d+) (%d+) (%d+) (%S+)$')
          known[name] = max and {
            max = tonumber(max), starts = starts == '0' and 0 or tonumber(starts), per_ms = starts ~= '0' and per_s * 1000 or 0,
            counting = state == 'c', by = by, running = 0, is_open = false,
          } or false
        end
      end
    end,

    -- Nil while a name lets somebody in; else when it will, by time, or math.huge. `write`: puts right what a clock that went back
    -- has left in the future.
    shut_until = function(self, name, now, write)
      local call = redis.call
      if self.known[name] == nil then self:look_up({ name }) end
      local limit = self.known[name]
      if not limit then return nil end
      if limit.counting then return math.huge end
      if limit.max > 0 then
        limit.running = call('SCARD', KEYS[1] .. 'permits:' .. name)
        if limit.running >= limit.max then return math.huge end
      end
      if limit.starts == 0 then return nil end
      local starts = KEYS[1] .. 'starts:' .. name
      local first = call('LINDEX', starts, limit.starts - 1)
      if not first or first + limit.per_ms < now then return nil end
      if write and (tonumber(first) > now or tonumber(call('LINDEX', starts, '0')) > now) then
        for i, time in ipairs(call('LRANGE', starts, '0', '-1')) do -- some may stand behind what started after the clock went back
          if tonumber(time) > now then call('LSET', starts, i - 1, string.format('%d', now)) end
        end
      end
      return math.min(first, now) + limit.per_ms + 1
    end,

    -- The job runs under all of these names that are defined. Returns whether there is one, and what `also` of its hash is to be where
    -- that is not what it is: else nil. `aside`: whether somebody may wait for one of them; `but` for this one.
    take = function(self, id, names, now, also, aside, but)
      local call, any, rooms = redis.call, false, also or ''
      for i = 1, #names do
        local name = names[i]
        local limit = self.known[name]
        if limit then
          local room_of_it = i == 1 and 'y' or 'l'
          any = true
          if not string.find(rooms, room_of_it, 1, true) then rooms = rooms .. room_of_it end
          if limit.running == 0 and limit.by ~= name then call('ZADD', KEYS[1] .. 'limited', '0', name) end
          call('SADD', KEYS[1] .. 'permits:' .. name, id)
          local full = limit.max > 0 and limit.running + 1 >= limit.max
          if limit.starts > 0 then
            local starts = KEYS[1] .. 'starts:' .. name
            local n = call('LPUSH', starts, string.format('%d', now))
            if n > limit.starts then call('LTRIM', starts, '0', limit.starts - 1) end
            full = n >= limit.starts or full
          end
          local waiting = full and aside and name ~= but and self.who_waits(name)
          if waiting and waiting[1] then -- nobody is to be called for nothing
            local at = limit.max > 0 and limit.running + 1 >= limit.max and math.huge or self:shut_until(name, now)
            if at then self.shut(name, at, waiting) end
          end
        end
      end
      return any, rooms ~= (also or '') and rooms or nil
    end,
  }

  -- What only they need whose limits are shut, or somebody waits for.
  local function add_rest()
    local call = redis.call
    local function key(name) return KEYS[1] .. name end

    -- What limits a name, see look_up.
    function room.definition(name)
      if room.known[name] == nil then room:look_up({ name }) end
      return room.known[name]
    end

    -- Opens all of these names.
    function room.open_all(names)
      room.puts_off = true
      for _, name in ipairs(names) do room.open(name) end
      room.catch_up()
    end

    -- Opens what has got room.
    function room.open_freed()
      local freed = room.freed
      room.freed = false
      for _, name in ipairs(freed) do room.rings = room.open(name) or room.rings end
    end

    function room.catch_up()
      local late = room.late
      room.puts_off, room.late = false, false
      if late then room.write_late(late) end
    end

    -- To be called when what waits aside of a type has changed. Notes that in room.changed.
    function room.refresh(job_type)
      room.changed = true
      if not room.puts_off then return refresh_lane(job_type) end
      room.late = room.late or { types = {}, groups = {} }
      room.late.types[job_type] = true
    end

    -- Returns the first score of a group, nil when it is empty. `is_open`: its limit is not in `shut`, for certain.
    local function write_group(job_type, name, is_open)
      local head = call('ZRANGE', key('group:' .. job_type .. ' ' .. name), '0', '0', 'WITHSCORES')[2]
      if not head then call('SREM', key('waits:' .. name), job_type) end
      if head and (is_open or not call('ZSCORE', key('shut'), name)) then
        call('ZADD', key('groups:' .. job_type), head, name)
      else
        call('ZREM', key('groups:' .. job_type), name)
      end
      return head
    end

    -- To be called when a group has changed.
    function room.refresh_group(job_type, name)
      if not room.puts_off then write_group(job_type, name) end
      room.refresh(job_type)
      if room.puts_off then room.late.groups[job_type .. ' ' .. name] = { job_type, name } end
    end

    function room.write_late(late)
      for _, group in pairs(late.groups) do write_group(group[1], group[2]) end
      for job_type in pairs(late.types) do
        if job_type == room.open_type then -- only which is its first job has changed
          local head, other = call('ZRANGE', key('lane:' .. job_type), '0', '0', 'WITHSCORES')[2],
            call('ZRANGE', key('groups:' .. job_type), '0', '0', 'WITHSCORES')[2]
          if other and not (head and tonumber(head) <= tonumber(other)) then head = other end
          if head then call('ZADD', key('lanes'), head, job_type) else call('ZREM', key('lanes'), job_type) end
        else
          refresh_lane(job_type)
        end
      end
    end

    -- The types of which jobs wait for a name.
    function room.who_waits(name)
      local job_type = string.match(name, '^type:(.*)$')
      if not job_type then return call('SMEMBERS', key('waits:' .. name)) end
      return { call('ZSCORE', key('lanes'), job_type) and job_type or nil }
    end

    local function refresh_all(name, types)
      local job_type = string.match(name, '^type:(.*)$')
      if job_type then
        room.open_type = false
        return room.refresh(job_type)
      end
      for _, waiting in ipairs(types or call('SMEMBERS', key('waits:' .. name))) do room.refresh_group(waiting, name) end
    end

    -- `types`: of which jobs wait for it, where that is known.
    function room.shut(name, at, types)
      if call('ZADD', key('shut'), at == math.huge and 'inf' or string.format('%.0f', at), name) == 0 then return end
      if not types then call('ZADD', key('limited'), '0', name) end -- else it runs, and is there
      refresh_all(name, types)
    end

    -- Lets in who waits for a name; false when nobody did. The next claim that meets it shut shuts it again.
    function room.open(name)
      if call('ZREM', key('shut'), name) == 0 then return false end
      if string.sub(name, 1, 5) == 'type:' or room.puts_off then
        refresh_all(name)
        return true
      end
      for _, job_type in ipairs(call('SMEMBERS', key('waits:' .. name))) do
        local head, first = write_group(job_type, name, true), call('ZSCORE', key('lanes'), job_type)
        room.changed = true -- the type is not shut or paused when `lanes` has it: there it may only move to the front
        if not first or not head then
          refresh_lane(job_type)
        elseif tonumber(head) < tonumber(first) then
          call('ZADD', key('lanes'), head, job_type)
        end
      end
      return true
    end

    -- Queued jobs of one type and the same limits, which are not in `queue` any more, wait aside. `jobs`: score, id ... `name`: the limit
    -- of their own that is shut, or nil: it is for their type.
    function room.park(jobs, job_type, limits, name)
      local lane = job_type .. (limits and ' ' .. limits or '')
      call('ZADD', key('held'), unpack(jobs))
      call('ZADD', key('lane:' .. lane), unpack(jobs))
      if not limits then return room.refresh(job_type) end
      local under = call('HGET', key('under'), lane)
      local to = name or under or string.match(limits, '^%S+')
      local group = key('group:' .. job_type .. ' ' .. to)
      local head = call('ZRANGE', key('lane:' .. lane), '0', '0', 'WITHSCORES')[2]
      if under == to and call('ZSCORE', group, lane) == head then
        if call('ZSCORE', key('groups:' .. job_type), to) and call('ZSCORE', key('shut'), to) then room.refresh_group(job_type, to) end
        return
      end
      if under and under ~= to then
        call('ZREM', key('group:' .. job_type .. ' ' .. under), lane)
        room.refresh_group(job_type, under)
      end
      call('HSET', key('under'), lane, to)
      call('SADD', key('waits:' .. to), job_type)
      call('ZADD', key('group:' .. job_type .. ' ' .. to), head, lane)
      room.refresh_group(job_type, to)
    end

    -- One lane of jobs that go aside, see park_all. Returns the limit under which it stands now, when it did not before.
    local function add_to_lane(name, lane, under)
      local job_type, limits, shut_name = lane[2], lane[3], lane[4]
      call('ZADD', key('lane:' .. name), unpack(lane, 5))
      if not limits then return room.refresh(job_type) end
      local to = shut_name or under or string.match(limits, '^%S+')
      local group = job_type .. ' ' .. to
      if under == to then
        if call('ZADD', key('group:' .. group), 'LT', 'CH', lane[5], name) == 1 and not shut_name then room.refresh_group(job_type, to) end
        return
      end
      if under then
        call('ZREM', key('group:' .. job_type .. ' ' .. under), name)
        room.refresh_group(job_type, under)
      end
      call('SADD', key('waits:' .. to), job_type)
      call('ZADD', key('group:' .. group), call('ZRANGE', key('lane:' .. name), '0', '0', 'WITHSCORES')[2], name)
      if not shut_name then room.refresh_group(job_type, to) end
      return to
    end

    -- Jobs that a claim has met in `queue` go aside. `jobs`: score, id ... of all of them. `lanes`: { lane, job_type, limits or
    -- false, name or false, score, id ... }. `name`: the limit of their own that is shut; it stands in `shut`, so its groups are in no
    -- groups:<type>.
    function room.park_all(jobs, lanes)
      local names, new = {}, {}
      for n, lane in ipairs(lanes) do names[n] = lane[1] end
      local under = call('HMGET', key('under'), unpack(names))
      call('ZADD', key('held'), unpack(jobs))
      for n, lane in ipairs(lanes) do
        local to = add_to_lane(names[n], lane, under[n])
        if to then new[#new + 1], new[#new + 2] = names[n], to end
      end
      if new[1] then call('HSET', key('under'), unpack(new)) end
    end

    -- To be called when the first job of a lane of limits has changed. `under`: the limit under which it stands, where that is known.
    function room.refresh_lane_of_limits(job_type, lane, under)
      under = under or call('HGET', key('under'), lane)
      if not under then return end
      local head = call('ZRANGE', key('lane:' .. lane), '0', '0', 'WITHSCORES')[2]
      if head then
        call('ZADD', key('group:' .. job_type .. ' ' .. under), head, lane)
      else
        local group = job_type .. ' ' .. under
        call('ZREM', key('group:' .. group), lane)
        call('HDEL', key('under'), lane)
        if call('EXISTS', key('group:' .. group)) == 0 then call('SREM', key('waits:' .. under), job_type) end -- who asks before catch_up
      end
      room.refresh_group(job_type, under)
    end

    -- A job leaves its lane. `under`: the limit under which that stands, where that is known.
    function room.unpark(id, job_type, limits, under)
      call('ZREM', key('held'), id)
      local lane = job_type .. (limits and ' ' .. limits or '')
      if call('ZREM', key('lane:' .. lane), id) == 0 then return end
      if limits then room.refresh_lane_of_limits(job_type, lane, under) else room.refresh(job_type) end
    end

    -- The first job that waits aside of a type: {id, limits or false, under which of them it stands}; nil when there is none.
    -- `score`: that which `lanes` has.
    function room.first_of(job_type, score)
      local group = call('ZRANGE', key('groups:' .. job_type), '0', '0', 'WITHSCORES')
      local plain = tonumber(group[2]) == score and {} or call('ZRANGE', key('lane:' .. job_type), '0', '0', 'WITHSCORES')
      if group[1] and not (plain[1] and tonumber(plain[2]) <= tonumber(group[2])) then
        local lane = call('ZRANGE', key('group:' .. job_type .. ' ' .. group[1]), '0', '0')[1]
        local id = lane and call('ZRANGE', key('lane:' .. lane), '0', '0')[1]
        if not id then return nil end
        return { id, string.sub(lane, #job_type + 2), group[1] }
      end
      return plain[1] and { plain[1], false }
    end

    -- `lanes` named a type of which nothing waits aside.
    function room.mend(job_type)
      local name = call('ZRANGE', key('groups:' .. job_type), '0', '0')[1]
      local lane = name and call('ZRANGE', key('group:' .. job_type .. ' ' .. name), '0', '0')[1]
      if lane and call('EXISTS', key('lane:' .. lane)) == 0 then
        call('ZREM', key('group:' .. job_type .. ' ' .. name), lane)
        call('HDEL', key('under'), lane)
      end
      if name then room.refresh_group(job_type, name) else room.refresh(job_type) end
    end

    -- A job runs: it holds what is defined of its names. `by`: only of this definition.
    function room.count_in(id, by)
      local f = call('HMGET', key('job:' .. id), 'status', 'type', 'limits', 'also')
      if f[1] ~= 'processing' then return end
      for i, name in ipairs(room.names_of(f[2] or 'echo', f[3])) do
        local limit = room.definition(name)
        if limit and (not by or limit.by == by) then
          call('SADD', key('permits:' .. name), id)
          call('ZADD', key('limited'), '0', name)
          local room_of_it = i == 1 and 'y' or 'l'
          if not string.find(f[4] or '', room_of_it, 1, true) then
            f[4] = (f[4] or '') .. room_of_it
            call('HSET', key('job:' .. id), 'also', f[4])
          end
        end
      end
    end
  end

  return setmetatable(room, { __index = function(_, name)
    setmetatable(room, nil)
    add_rest()
    return room[name]
  end })
end
