// The workers: which live, and what they run.
import { h } from './dom.js';
import { visible } from './visible.js';
import { bar, empty, facts, jobLink, link, panel, pre, status, table } from './parts.js';
import { plural, span, when } from './words.js';

export function workers(app) {
  const none = empty(
    'No worker is running',
    h('p', 'Start one:'),
    pre('Command', 'python worker.py'),
  );
  return {
    draw() {
      const { workers } = app.stats;
      return workers.length ? h('div.grid', { key: 'grid' }, workers.map(card)) : none;
    },
  };
}

function card(each) {
  const { worker, queue, host, pid, lost, threads, running, http } = each;
  const name = http ? `${queue} over HTTP from ${host}` : `${queue} on ${host}:${pid}`;
  return panel(
    `${worker} ${queue}`, // one worker may serve several queues
    [name, lost ? status('failed', 'beat lost') : status('done', 'alive')],
    h(
      'p',
      bar(running.length, threads, `Busy threads of ${name}`),
      `${running.length} of ${plural(threads, 'thread')} busy`,
    ),
    facts([
      http ? ['Name', visible(worker)] : ['Version', each.version],
      ['Last beat', when(each.last_beat_at)],
    ]),
    h(
      'p',
      each.types.map((type) => h('a.tag', { href: link('jobs', { type }) }, type)),
    ),
    running.length > 0 && runningTable(name, running),
  );
}

function runningTable(name, running) {
  const row = (run) => [run.job_id, jobLink(run.job_id, run.type), span(run.for_s * 1000)];
  return table(`Running: ${name}`, ['Job', '#For'], running.map(row), 'plain');
}
