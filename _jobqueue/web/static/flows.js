// The newest workflows: how far each has come.
import { call } from './api.js';
import { h } from './dom.js';
import { breakable, empty, link, loading, panel, short, table } from './parts.js';
import { counts, share } from './shares.js';
import { number, when } from './words.js';

const COLUMNS = ['Workflow', 'Jobs by status', '#Jobs', '#Newest job'];
const EVERY_MS = 5000;

export function flows() {
  let rows = null;
  let askedAt = 0;
  return {
    async poll(signal) {
      if (Date.now() - askedAt < EVERY_MS) {
        return;
      }
      ({ flows: rows } = await call('GET', '/flows', undefined, signal));
      askedAt = Date.now();
    },
    draw() {
      if (!rows) {
        return loading();
      }
      if (!rows.length) {
        const text =
          'Jobs that wait for others are a workflow. Those of the newest jobs are listed here.';
        return empty('No workflows', h('p', text));
      }
      return [
        panel('flows', '', table('Workflows', COLUMNS, rows.map(row), 'cards.flows')),
        h('p.soft', { key: 'source' }, 'Of the newest 200 jobs of each status, newest first.'),
      ];
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
