-- needs: prelude
-- Notes what an operation has changed, so that lists find it for a day. A full Redis leaves that out.
-- KEYS  1 prefix
-- ARGV  1 name of the operation   2... ids
-- Returns 1 when they are noted, else 0.
local KEPT_S, name = 86400, key('acted:' .. ARGV[1])
local now_text, rows = digits(now_ms()), {}
for i = 2, #ARGV do rows[#rows + 1], rows[#rows + 2] = now_text, ARGV[i] end
if not pcall(call, 'ZADD', name, unpack(rows)) then return 0 end
call('EXPIRE', name, KEPT_S)
return 1
