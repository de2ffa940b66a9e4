// What a text names, and where it stands in payloads. A single job is shown at once.
import { call } from './api.js';
import { h } from './dom.js';
import { empty, jobLink, link, loading, panel, query, status, table } from './parts.js';
import { listOf } from './rows.js';
import { moment } from './times.js';
import { number } from './words.js';

const NAMES = {
  job: 'Job',
  unique_key: 'Unique key of a job',
  idempotency_key: 'Idempotency key of a job',
  tag: 'Tag',
  kind: 'Kind of error',
  queue: 'Queue',
  type: 'Type',
};
const PLACES = { queue: 'the queue', history: 'the record', names: 'the names' };
const FILTERS = ['status', 'type', 'queue', 'tag', 'kind'];
const SHOWN = 10; // jobs with the text
const DAY_MS = 86400000;
const TEXT_DAYS = 31; // that a search for a text may look at
const TEXT_CHARS = 200;
const NO_RECORD =
  'Payloads are searched in the record, and none is kept here: set HISTORY_URL and start history.py.';

export function search(app) {
  let params = {};
  let data = null;

  const filters = () =>
    Object.fromEntries(FILTERS.filter((name) => params[name]).map((name) => [name, params[name]]));
  const withText = () =>
    link('history', { ...filters(), text: data.q, since: daysAgo(TEXT_DAYS), until: '' });

  function row({ as, job, filter, jobs, source, name }) {
    const view = source === 'history' ? 'history' : 'jobs';
    const lead = job
      ? jobLink(job.job_id, job.type)
      : h('a', { href: link(view, { ...filters(), ...filter }) }, name ?? data.q);
    const more = job ? status(job.status) : (jobs ?? null) !== null && number(jobs);
    return [`${as} ${job?.job_id ?? name ?? ''} ${source}`, lead, NAMES[as], more, PLACES[source]];
  }

  function named() {
    const rows = [...data.found, ...begun(data.q, app.stats)];
    const heads = ['Name', 'Is', '#Jobs', 'Found in'];
    return rows.length > 0 && panel('named', '', table('What was found', heads, rows.map(row)));
  }

  // In the payload, the result or the last error.
  function texts() {
    const { jobs = [], looked_to: to, next_cursor: more, said } = data.texts;
    if (said) {
      return h('p.source', { key: 'texts' }, said);
    }
    const far = to
      ? [`The newest ${jobs.length}, back to `, moment(to), '.']
      : `Of the last ${TEXT_DAYS} days.`;
    const all = h('a', { href: withText() }, more ? 'All of them, in the record' : 'In the record');
    const title = `In ${jobs.length ? '' : 'no '}payloads, results and errors`;
    return panel(
      'texts',
      [title, h('p.source', far, ' ', all)],
      jobs.length > 0 && listOf(jobs, { label: 'Jobs with the text' }),
    );
  }

  return {
    open(next, same) {
      params = next;
      data = same ? data : null;
    },
    async poll(signal) {
      if (data) {
        return;
      }
      const q = params.q ?? '';
      const isRecorded = app.stats.record;
      const [answer, more] = await Promise.all([
        found(q, signal),
        isRecorded ? containing(q, filters(), signal) : { said: NO_RECORD },
      ]);
      data = { ...answer, texts: more };
      const only = onlyJob(data);
      if (only) {
        location.replace(`#/jobs/${only.job_id}`);
      }
    },
    draw() {
      if (!data) {
        return loading();
      }
      const notes = data.notes.map((note) => h('p.source', { key: note }, note));
      const rows = named();
      const all = h('a', { href: '#/jobs' }, 'All jobs');
      const nothing = !rows && !data.texts.jobs?.length;
      return [
        rows || (nothing && empty(data.said ?? `Nothing is called ${data.q}`, h('p', all))),
        notes,
        texts(),
      ];
    },
  };
}

// What there is to show, when it is one job alone.
function onlyJob({ found: hits, texts }) {
  const [only, ...others] = hits;
  if (only) {
    return others.length ? null : only.job;
  }
  const { jobs = [], next_cursor: more, looked_to: to } = texts;
  return jobs.length === 1 && !more && !to && !jobs[0].deleted ? jobs[0] : null;
}

// Types and queues whose names have the text in them.
function begun(q, { types = [], workers = [], queues = [] }) {
  const names = {
    type: [...types.map(({ type }) => type), ...workers.flatMap((each) => each.types ?? [])],
    queue: queues.map(({ queue }) => queue),
  };
  return Object.entries(names).flatMap(([as, some]) =>
    [...new Set(some)]
      .filter((name) => q && name !== q && name.toLowerCase().includes(q.toLowerCase()))
      .sort()
      .map((name) => ({ as, name, filter: { [as]: name }, source: 'names' })),
  );
}

async function found(q, signal) {
  const answer = await asked(`/search?${query({ q })}`, signal, [422]);
  return { q, found: [], notes: [], ...answer };
}

async function containing(text, filters, signal) {
  if (!text || text.length > TEXT_CHARS) {
    return { said: `Of payloads texts of up to ${TEXT_CHARS} characters are searched.` };
  }
  const wanted = query({ ...filters, text, since: daysAgo(TEXT_DAYS), limit: SHOWN });
  return asked(`/history?${wanted}`, signal, [404, 422, 503]);
}

// An answer, or what the API says instead.
async function asked(path, signal, refusals) {
  try {
    return await call('GET', path, undefined, signal);
  } catch (error) {
    if (!refusals.includes(error.status)) {
      throw error;
    }
    return { said: error.message };
  }
}

// An hour less, so that the span ends within them however late it is asked for.
const daysAgo = (days) => new Date(Date.now() - days * DAY_MS + DAY_MS / 24).toISOString();
