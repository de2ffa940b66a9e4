-- A job's place in the queue, its score in `queue`: strict priority, 0-9, and FIFO inside it by seq, the number of its submit.

local function place_of(priority, seq) return string.format('%d', (9 - priority) * 2 ^ 43 + seq) end

local function priority_of(place) return 9 - math.floor(place / 2 ^ 43) end
