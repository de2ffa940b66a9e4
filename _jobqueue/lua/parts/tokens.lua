-- A claim's token, '<slot>:<seq>', and its slot, '<worker>-<number>': made and read here alone.

local function make_token(slot, seq) return slot .. ':' .. seq end

-- nil for what is no token.
local function slot_of(token) return string.match(token, '^(.*):') end
local function seq_of(token) return string.match(token, ':(%d+)$') end

local function worker_of(slot) return string.match(slot, '^(.*)%-') end
