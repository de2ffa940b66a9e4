// The record: jobs that the queue may have forgotten, with filters and a search for a text.
import { call } from './api.js';
import { h } from './dom.js';
import { empty, filters, link, loading, query } from './parts.js';
import { listOf } from './rows.js';
import { STATUSES } from './statuses.js';
import { number, when } from './words.js';

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
    const only = params.status ?? '';
    const table = listOf(data.jobs, { label: 'Jobs of the record', only });
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
        h('p.soft', { key: 'source' }, 'From the record in SQL, newest first.'),
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
