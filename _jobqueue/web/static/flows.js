// Workflows, the newest first: how far each has come.
import { call } from './api.js';
import { h } from './dom.js';
import { breakable, empty, link, loading, panel, query, short, table } from './parts.js';
import { counts, share } from './shares.js';
import { number, when } from './words.js';

const COLUMNS = ['Workflow', 'Jobs by status', '#Jobs', '#Newest job'];
const EVERY_MS = 5000;

export function flows() {
  let params = {};
  let page = null;
  let askedAt = 0;

  function pages() {
    const cursor = page.next_cursor;
    return h(
      'nav.pages',
      { label: 'Pages', key: 'pages' },
      h('span', 'The newest first'),
      params.cursor && h('a', { href: '#/flows', rel: 'prev' }, 'First page'),
      cursor && h('a', { href: link('flows', { cursor }), rel: 'next' }, 'Older workflows'),
    );
  }

  return {
    open(next, same) {
      params = next;
      if (!same) {
        page = null;
        askedAt = 0;
      }
    },
    async poll(signal) {
      if (Date.now() - askedAt < EVERY_MS) {
        return;
      }
      page = await call('GET', `/flows?${query({ cursor: params.cursor })}`, undefined, signal);
      askedAt = Date.now();
    },
    draw() {
      if (!page) {
        return loading();
      }
      const rows = page.flows;
      if (rows.length) {
        return [
          panel('flows', '', table('Workflows', COLUMNS, rows.map(row), 'cards.flows')),
          (page.next_cursor || params.cursor) && pages(),
        ];
      }
      if (page.next_cursor || params.cursor) {
        return empty(
          page.next_cursor ? 'None among those looked at' : 'No older workflows',
          pages(),
        );
      }
      return empty('No workflows', h('p', 'Jobs that wait for others are a workflow.'));
    },
  };
}

function row({ job_id, name, type, queue, jobs, total, truncated, created_at }) {
  const words = Object.entries(jobs).map(([status, n]) => `${n} ${status}`);
  return [
    job_id,
    [
      h('a', { href: `#/jobs/${job_id}` }, h('strong', breakable(name ?? type))),
      h(
        'div.length',
        h('small', name ? [breakable(type), ' '] : '', h('code', short(job_id)), ' in '),
        h('small', h('a', { href: link('jobs', { queue }) }, breakable(queue))),
      ),
    ],
    [share(jobs, total, words.join(', ')), counts(jobs)],
    `${number(total)}${truncated ? '+' : ''}`,
    when(created_at),
  ];
}
