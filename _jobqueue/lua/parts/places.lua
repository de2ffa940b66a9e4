-- A job's place in the queue: its score in `queue`. Strict priority, 0-9, and FIFO inside it by seq, the number of its submit.

local PRIORITY_STEP = 2 ^ 43

local function place_of(priority, seq) return digits((9 - priority) * PRIORITY_STEP + seq) end
