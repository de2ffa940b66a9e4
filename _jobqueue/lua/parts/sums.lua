-- What charts show of more than an hour: sums:<n>, a hash for each ten minutes (n of them since the epoch), for 48 hours. `*` is the
-- queue as a whole; of ten minutes that are over, 20 types have a row of their own, and `other` is the rest. Each is JSON, name -> n,
-- as in by_type:<minute>. `summed` of meta is the last minute that was added: each is added once, whoever adds it.
-- `recent`, a list, says of the last minute and a half, every ten seconds: when, how many waited, how many had ended.

local SUM_MINUTES = 10
local SUMS_KEPT_S = 174000 -- 48 hours, and what is needed of them until the next ten minutes have begun

local function sums_key(minute) return key('sums:' .. digits(math.floor(minute / SUM_MINUTES))) end
