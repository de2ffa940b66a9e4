// The record: jobs that the queue may have forgotten, with filters and a search for a text.
import { call } from './api.js';
import { h } from './dom.js';
import { empty, filters, jobLink, link, loading, query, short, status } from './parts.js';
import { detail, preview } from './rows.js';
import { STATUSES } from './statuses.js';
import { number, when } from './words.js';

const COLUMNS = ['Status', 'Job', 'What happened', 'Queue', 'Attempts', 'When'];
const NUMBERS_FROM = 4; // the column from which on numbers stand
const PAGE = 50;
const DAY_MS = 86400000;
const TEXT_DAYS = 31; // that a search for a text may look at

export function history(app) {
  let params = {};
  let data = null;

  const to = (changes) => link('history', { ...params, cursor: '', from: '', ...changes });
  const [inputs, fields] = filters(['type', 'queue', 'tag', 'kind', 'text'], (changes) =>
    app.go(to(changes)),
  );

  function chips() {
    const chip = (name) =>
      h(
        'a',
        { href: to({ status: name }), 'aria-current': (params.status ?? '') === name && 'true' },
        name || 'all',
      );
    return h('nav.chips', { label: 'Status', key: 'chips' }, ['', ...STATUSES].map(chip));
  }

  function list() {
    const next = nextPage();
    if (!data.jobs.length) {
      const title = data.said ?? (next ? 'None among those looked at' : 'None in the record');
      return empty(title, looked(), next || h('a', { href: '#/history' }, 'Show all'));
    }
    const title = (text, at) => h(at >= NUMBERS_FROM ? 'th.n' : 'th', { scope: 'col' }, text);
    const table = h(
      'table.jobs.past',
      { label: 'Jobs of the record' },
      h('thead', h('tr', h('td.check'), COLUMNS.map(title))),
      h('tbody', data.jobs.map(row)),
    );
    return [h('section.panel', { key: 'list' }, table), pages(next)];
  }

  function nextPage() {
    if (!data.next_cursor) {
      return null;
    }
    const from = (+params.from || 0) + data.jobs.length;
    const href = to({ cursor: data.next_cursor, from });
    return h('a', { href, rel: 'next' }, data.jobs.length ? 'Next page' : 'Look further');
  }

  const looked = () => data.looked_to && h('p', 'Looked back to ', when(data.looked_to));

  function pages(next) {
    const from = +params.from || 0;
    return h(
      'nav.pages',
      { label: 'Pages', key: 'pages' },
      `${number(from + 1)}–${number(from + data.jobs.length)} in the record`,
      looked(),
      params.cursor && h('a', { href: to({}), rel: 'prev' }, 'First page'),
      next,
    );
  }

  return {
    open(next, same) {
      params = next;
      if (same) {
        return;
      }
      for (const each of inputs) {
        each.value = params[each.name] ?? '';
      }
      data = null;
    },
    // What is past stays: it is asked for once.
    async poll(signal) {
      data ??= await page(params, signal);
    },
    draw() {
      return [
        h('p.source', { key: 'source' }, 'From the record in SQL, newest first.'),
        chips(),
        fields,
        data ? list() : loading(),
      ];
    },
  };
}

async function page(params, signal) {
  const since = params.since || (params.text && daysAgo(TEXT_DAYS));
  try {
    const asked = query({ ...params, since, from: '', limit: PAGE });
    return await call('GET', `/history?${asked}`, undefined, signal);
  } catch (error) {
    if (![404, 422, 503].includes(error.status)) {
      throw error;
    }
    return { jobs: [], said: error.message };
  }
}

const daysAgo = (days) => new Date(Date.now() - days * DAY_MS + DAY_MS / 24).toISOString();

function row(job) {
  const { job_id: id, type } = job;
  const name = job.deleted
    ? h('span', h('strong', type), h('code.id', short(id)))
    : jobLink(id, type);
  return h(
    'tr',
    { key: id },
    h('td.check'), // as wide as where other lists have a box
    h('td.state', status(job.status)),
    h('td.what', name, job.deleted ? h('div.preview', 'deleted') : preview(job)),
    h('td.detail', h('div.message', detail(job))),
    h('td.queue', job.queue),
    h('td.n.tries', `${job.attempts}/${job.max_attempts}`),
    h('td.n.age', when(job.finished_at ?? job.created_at)),
  );
}
