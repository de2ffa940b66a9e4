// Lists of jobs: a line for each, with the columns that its status makes sense of.
import { h } from './dom.js';
import { bar, isolated, jobLink, short, status } from './parts.js';
import { reason } from './statuses.js';
import { moment } from './times.js';
import { between, number, plural, when } from './words.js';

const PREVIEW = 240; // characters of a payload
const USUAL_PRIORITY = 5;

const TRIES = ['n.tries', 'Attempts', (job) => `${job.attempts}/${job.max_attempts}`];
// Of each status the figure that matters, and the time. Of all together what every job has.
const FIGURES = {
  queued: ['n.tries', 'Position', ({ position }) => (position ? number(position) : '–')],
  processing: ['n.tries', 'For', ({ started_at }) => when(started_at, 'since')],
  done: ['n.tries', 'Ran', ({ started_at, finished_at }) => between(started_at, finished_at)],
};
const TIMES = {
  queued: ['Submitted', 'created_at'],
  blocked: ['Submitted', 'created_at'],
  scheduled: ['Due', 'run_at'],
  processing: ['Started', 'started_at'],
  done: ['Finished', 'finished_at'],
  failed: ['Failed', 'finished_at'],
  cancelled: ['Cancelled', 'finished_at'],
};

// `boxes`: the cell in front of a job, and of the head, or none. `only`: the status of all of them, or
// ''. What says the same of all, and tags that nobody has, take no room.
export function listOf(jobs, { label, only = '', queue = '', boxes, chosen }) {
  const isTagged = jobs.some(({ tags }) => tags.length);
  const columns = columnsOf(only, !queue, isTagged);
  const head = ([kind, name]) => h(`th.${kind}`, { scope: 'col' }, name);
  const row = (job) =>
    h(
      'tr',
      { key: job.job_id, class: chosen?.(job) && 'chosen' },
      boxes ? boxes.of(job) : h('td.check'),
      columns.map(([kind, , cell]) => h(`td.${kind}`, cell(job))),
    );
  return h(
    'table.jobs',
    { label, 'data-only': only || 'all' },
    h('thead', h('tr', boxes ? boxes.head() : h('td.check'), columns.map(head))),
    h('tbody', jobs.map(row)),
  );
}

function columnsOf(only, hasQueues, hasTags) {
  const [name, field] = TIMES[only] ?? ['When'];
  return [
    !only && ['state', 'Status', (job) => status(job.status)],
    ['what', 'Job', title],
    ['detail', only === 'failed' ? 'Error, payload' : 'Payload', content],
    hasQueues && ['queue', 'Queue', place],
    FIGURES[only] ?? TRIES,
    ['n.age', name, (job) => moment(field ? job[field] : (job.finished_at ?? job.created_at))],
    hasTags && [
      'tags',
      'Tags',
      ({ tags }) => tags.map((tag) => h('span.tag', { title: tag }, tag)),
    ],
  ].filter(Boolean);
}

function title({ job_id: id, type, deleted }) {
  return deleted ? h('span', h('strong', type), h('code.id', short(id))) : jobLink(id, type);
}

function place({ queue, priority }) {
  const order = priority !== USUAL_PRIORITY && ` priority ${priority}`;
  return [h('span', { title: `${queue}${order || ''}` }, queue), order && h('small', order)];
}

function content(job) {
  const first = h('span.message', detail(job));
  return h('div', first.childNodes.length > 0 && first, job.deleted ? 'deleted' : preview(job));
}

function preview({ payload, payload_preview }) {
  const text = (payload_preview ?? JSON.stringify(payload)).slice(0, PREVIEW);
  return h('span.preview', h('code', isolated(text)));
}

function detail(job) {
  const { status: now, errors, progress, run_at, blocked_by } = job;
  const failure = errors.length > 0 && reason(errors.at(-1));
  switch (now) {
    case 'processing':
      return [progress && bar(progress.fraction, 1, 'Progress'), progress?.note];
    case 'scheduled':
      return [failure ? 'again ' : 'due ', when(run_at), failure && [' after ', failure]];
    case 'blocked':
      return blocked_by ? `waits for ${plural(blocked_by, 'job')}` : 'waits for other jobs';
    case 'queued':
    case 'failed':
      return failure;
    default:
      return null;
  }
}
