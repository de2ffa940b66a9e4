-- A status is membership: each has one index.

local STATUSES = { 'queued', 'scheduled', 'processing', 'done', 'failed', 'cancelled' }
local INDEX = {
  queued = 'queue', scheduled = 'scheduled', processing = 'leases', done = 'done', failed = 'failed', cancelled = 'cancelled'
}
