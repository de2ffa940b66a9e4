// The queues: how much waits in each, how fast it goes, a switch to pause it and a limit for what waits.
import { limitButton, room } from './admission.js';
import { call } from './api.js';
import { h } from './dom.js';
import { lesson } from './lesson.js';
import { breakable, button, link, panel, status, table } from './parts.js';
import { number, span } from './words.js';

const COLUMNS = [
  'Queue',
  '#Waiting',
  '#Running',
  '#Oldest',
  '#In / out a minute',
  '#Drained in',
  '#Dead letters',
];
const LATE_S = 60;

export function queues(app) {
  return {
    draw() {
      const { queues } = app.stats;
      return queues.length ? panel('queues', '', queueTable(app, true)) : lesson(app);
    },
  };
}

export function queueTable(app, managed = false) {
  async function toggle({ queue, paused }) {
    await call('POST', `/queues/${queue}/${paused ? 'resume' : 'pause'}`);
    app.refresh();
  }
  function pauseButton(each) {
    const does = each.paused ? 'Resume' : 'Pause';
    return button(does, () => toggle(each), 'pause', { label: `${does} ${each.queue}` });
  }
  const actions = (each) => h('span.actions', pauseButton(each), limitButton(app, each));
  const heads = managed ? [...COLUMNS, '#Action'] : COLUMNS;
  const row = (each) => (managed ? [...cells(each), actions(each)] : cells(each));
  return table('Queues', heads, app.stats.queues.map(row), 'cards.many');
}

function cells(each) {
  const { queue, jobs, busy, threads, submitted_per_minute, done_per_minute } = each;
  const name = h('a', { href: link('jobs', { queue }) }, h('strong', breakable(queue)));
  const later = jobs.scheduled > 0 && h('small', ` +${number(jobs.scheduled)} later`);
  const blocked = jobs.blocked > 0 && h('small', ` +${number(jobs.blocked)} blocked`);
  const deadLetters = jobs.failed
    ? h('a', { href: link('dead', { queue }) }, number(jobs.failed))
    : '0';
  return [
    queue,
    [name, each.paused && status('paused')],
    [number(jobs.queued), later, blocked, room(each)],
    `${number(busy)} of ${number(threads)}`,
    oldest(each),
    `${number(submitted_per_minute)} / ${number(done_per_minute)}`,
    drainedIn(each),
    deadLetters,
  ];
}

function oldest({ oldest_age_s }) {
  if (oldest_age_s === null) {
    return '–';
  }
  return h(oldest_age_s > LATE_S ? 'b.late' : 'span', span(oldest_age_s * 1000));
}

function drainedIn({ queue, jobs, drain_s, growth_per_minute }) {
  if (!jobs.queued) {
    return 'empty';
  }
  if (growth_per_minute >= 1) {
    const text = `grows by ${number(growth_per_minute)} a minute`;
    return h('a.late', { href: link('types', { queue }) }, text);
  }
  return drain_s === null ? 'not at this rate' : span(drain_s * 1000);
}
