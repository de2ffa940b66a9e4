-- needs: prelude
-- Says what a queue knows under a name.
-- KEYS  1 prefix
-- ARGV  1 the name   2 a job's id
-- Returns {the job whose unique key it is or false, jobs with that tag, dead letters of that kind;
--   1 when it is a type, 1 when there is a job with that id}.
local name = ARGV[1]
local is_type = call('HEXISTS', key('types'), name) == 1 or call('SISMEMBER', key('strange'), name) == 1
return {
  call('GET', key('unique:' .. name)), call('ZCARD', key('tag:' .. name)), call('ZCARD', key('kind:' .. name)),
  is_type and 1 or 0, call('EXISTS', key('job:' .. ARGV[2]))
}
