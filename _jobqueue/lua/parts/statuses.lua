-- A status is membership: each has one index.

local STATUSES = { 'queued', 'scheduled', 'blocked', 'processing', 'done', 'failed', 'cancelled' }
local INDEX = {
  queued = 'queue', scheduled = 'scheduled', blocked = 'blocked', processing = 'leases', done = 'done', failed = 'failed',
  cancelled = 'cancelled'
}
