// The same job once more: what a submit must say to make it.
const NEVER_STARTED = ['scheduled', 'blocked'];
const FIELDS = [
  'type',
  'queue',
  'priority',
  'payload',
  'max_attempts',
  'timeout_s',
  'backoff_s',
  'max_backoff_s',
  'jitter',
  'expires_s',
  'unique_key',
  'tags',
  'fair_key',
  'limits',
  'webhook',
  'name',
  'after',
  'when',
];

const isThere = (value) => value !== undefined && !(Array.isArray(value) && !value.length);

// The record may have erased a payload, and some types are nobody's to submit.
export const canBeRepeated = (job) =>
  !job.truncated?.includes('payload') && !job.type.startsWith('jobqueue.');

// A body for POST /jobs. What was still to come when it was looked at comes at the same time.
export function sameJob(job) {
  const given = FIELDS.filter((name) => isThere(job[name])).map((name) => [name, job[name]]);
  const waits = NEVER_STARTED.includes(job.status) && job.attempts === 0 && !job.snoozes;
  if (waits && job.run_at && Date.parse(job.run_at) > Date.now()) {
    given.push(['run_at', job.run_at]);
  }
  return Object.fromEntries(given);
}
