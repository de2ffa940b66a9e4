// The calls for which the Python library has an equivalent: each as the lines that do the same.
import { named, python, pythonCall, pythonList } from './docs-python.js';

const id = ({ path }) => python(path.job_id);
const queue = ({ path }) => python(path.queue);
const print = (name, ...options) => ({ lines: [`print(${pythonCall(name, options)})`] });
const run = (name, ...options) => ({ lines: [pythonCall(name, options)] });
const number = (text) => (Number.isNaN(Number(text)) ? text : Number(text));
const isObject = (value) => value !== null && typeof value === 'object' && !Array.isArray(value);

// A job's type and payload, then the rest by name; a payload without a type is named.
function jobOptions({ type, payload, ...rest }) {
  const first =
    type === undefined
      ? named({ payload })
      : [python(type), payload !== undefined && python(payload)];
  return [...first, ...named(rest)];
}

const idempotency = ({ headers }) => named({ key: headers['Idempotency-Key'] });

function submit(request) {
  const { traceparent, tracestate } = request.headers;
  const job = isObject(request.body) ? request.body : {};
  const options = [...jobOptions({ ...job, traceparent, tracestate }), ...idempotency(request)];
  return { lines: [`job = ${pythonCall('jobs.submit', options)}`, 'print(job.id, job.status)'] };
}

function submitMany(request) {
  const { jobs } = isObject(request.body) ? request.body : {};
  const made = (Array.isArray(jobs) ? jobs : []).filter(isObject);
  const list = pythonList(made.map((job) => pythonCall('NewJob', jobOptions(job))));
  const options = [list, ...idempotency(request)];
  const lines = [
    `for each in ${pythonCall('jobs.submit_many', options)}:`,
    '    print(each.error or each.job.id)',
  ];
  return { names: ['NewJob'], lines };
}

const epochMs = (text) => (text === undefined ? undefined : Date.parse(text) || 0);

function filter({ status, type, queue: name, tag, kind, since, until }) {
  const times = { since_ms: epochMs(since), until_ms: epochMs(until) };
  return pythonCall('Filter', named({ status, type, queue: name, tag, kind, ...times }));
}

function page(wanted, { limit, offset, cursor }) {
  const rest = named({ limit: number(limit), offset: number(offset), cursor });
  const lines = [
    `page = ${pythonCall('jobs.page', [filter(wanted), ...rest])}`,
    'for job in page.jobs:',
    '    print(job.id, job.status, job.type)',
  ];
  return { names: ['Filter'], lines };
}

function bulk({ body }) {
  const { action, ids, filter: wanted, cursor, dry_run } = isObject(body) ? body : {};
  if (ids) {
    return print('jobs.act_on', python(action), python(ids), ...named({ dry_run }));
  }
  const options = [python(action), filter(wanted ?? {}), ...named({ cursor, dry_run })];
  return { ...print('jobs.sweep', ...options), names: ['Filter'] };
}

function get(request) {
  const { wait_s: timeout } = request.query;
  if (timeout === undefined) {
    return print('jobs.get', id(request));
  }
  return print('jobs.wait', id(request), ...named({ timeout_s: number(timeout) }));
}

const retry = (request) =>
  print('jobs.retry', id(request), ...named({ payload: request.body?.payload }));
const force = ({ body }) => named({ force: body?.force });

function putLimit(request) {
  const { max_running, rate } = isObject(request.body) ? request.body : {};
  const limit = pythonCall(
    'Limit',
    named({ max_running, starts: rate?.starts, per_s: rate?.per_s }),
  );
  return {
    ...run('jobs.limits.put', queue(request), python(request.path.name), limit),
    names: ['Limit'],
  };
}

const ofType = (request) => [queue(request), python(request.path.job_type)];
const ofLimit = (request) => [queue(request), python(request.path.name)];
const ofSchedule = (request) => [queue(request), python(request.path.schedule)];

// By the names of the calls.
export const LIBRARY = {
  submit,
  submitBatch: submitMany,
  bulk,
  list: ({ query }) => page(query, query),
  get,
  parents: (request) => print('jobs.parents', id(request)),
  flow: (request) => print('jobs.flow', id(request)),
  delete: (request) => run('jobs.delete', id(request)),
  retry,
  cancel: (request) => print('jobs.cancel', id(request), ...force(request)),
  runNow: (request) => print('jobs.run_now', id(request)),
  search: ({ query }) => print('jobs.search', python(query.q ?? '')),
  tag: ({ path, query }) =>
    print('jobs.tags.tally', python(path.tag), ...named({ queue: query.queue })),
  deadLetters: ({ query }) => page({ status: 'failed', ...query }, query),
  kinds: ({ query }) => print('jobs.kinds', ...named({ queue: query.queue })),
  requeueAll: () => ({
    lines: ['for queue in jobs.queues():', '    print(queue, jobs.requeue_dead(queue))'],
  }),
  requeue: retry,
  queues: () => print('jobs.all_books'),
  deleteQueue: (request) => run('jobs.delete_queue', queue(request)),
  limitQueue: (request) =>
    run('jobs.limit_waiting', queue(request), python(request.body?.max_queued)),
  pause: (request) => run('jobs.pause', queue(request)),
  resume: (request) => run('jobs.pause', queue(request), 'False'),
  pauseType: (request) => run('jobs.pause_type', ...ofType(request)),
  resumeType: (request) => run('jobs.pause_type', ...ofType(request), 'False'),
  check: (request) => print('jobs.check', queue(request)),
  limits: (request) => print('jobs.limits.page', queue(request)),
  putLimit,
  limit: (request) => print('jobs.limits.get', ...ofLimit(request)),
  deleteLimit: (request) => run('jobs.limits.delete', ...ofLimit(request)),
  schedule: (request) => print('jobs.schedules.get', ...ofSchedule(request)),
  deleteSchedule: (request) => run('jobs.schedules.delete', ...ofSchedule(request)),
  runSchedule: (request) => print('jobs.schedules.run', ...ofSchedule(request)),
  pauseSchedule: (request) => print('jobs.schedules.pause', ...ofSchedule(request)),
  resumeSchedule: (request) => print('jobs.schedules.pause', ...ofSchedule(request), 'False'),
};
