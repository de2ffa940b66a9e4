-- needs: prelude
-- Notes what an operation has changed, so that it can be listed for a day: an id that is gone by then is passed over.
-- KEYS  1 prefix
-- ARGV  1 name of the operation   2... ids
local KEPT_S = 86400
local now_text, rows = digits(now_ms()), {}
for i = 2, #ARGV do rows[#rows + 1], rows[#rows + 2] = now_text, ARGV[i] end
call('ZADD', key('acted:' .. ARGV[1]), unpack(rows))
call('EXPIRE', key('acted:' .. ARGV[1]), KEPT_S)
return 0
