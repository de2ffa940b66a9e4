-- A job's place in the queue: its score in `queue`. Strict priority, 0-9, and FIFO inside it by the number of its submit.

local PRIORITY_STEP = 2 ^ 43
local NORMAL = 5

local function place_of(priority, seq) return digits((9 - priority) * PRIORITY_STEP + seq) end

-- The first place of the priority that has this place, as a number.
local function first_place(place) return math.floor(place / PRIORITY_STEP) * PRIORITY_STEP end
