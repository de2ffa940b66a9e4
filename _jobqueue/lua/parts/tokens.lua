-- A claim's token, '<slot>:<seq>', and its slot, '<worker>-<number>': made and read here alone.

local function make_token(slot, seq) return slot .. ':' .. seq end

-- Returns slot and seq, both text; nil for what is no token.
local function read_token(token) return string.match(token, '^(.*):(.*)$') end

local function worker_of(slot) return string.match(slot, '^(.*)%-') end
