// The workers: which live and where, what they have done, and what they run.
import { h } from './dom.js';
import { visible } from './visible.js';
import {
  bar,
  button,
  empty,
  facts,
  jobLink,
  link,
  panel,
  pre,
  short,
  status,
  table,
} from './parts.js';
import { number, plural, span, when } from './words.js';

const TYPES = 12; // that a card shows

export function workers(app) {
  let wanted = ''; // the id of the only one that is shown
  const open = new Set(); // cards that show all of their types

  const none = empty(
    'No worker is running',
    h('p', 'Start one:'),
    pre('Command', 'python worker.py'),
  );
  const all = () => h('a', { href: '#/workers' }, 'Show all workers');

  function gone() {
    const text = `The worker ${short(wanted)} has left: its name is given to no other one.`;
    return empty('It is not there any more', h('p', text), all());
  }

  function card(each) {
    const { worker, queue, lost, running } = each;
    const name = nameOf(each);
    const key = `${worker} ${queue}`; // one worker may serve several queues
    return panel(
      key,
      [name, lost ? status('failed', 'beat lost') : status('done', 'alive')],
      lost ? left(each) : busy(name, each),
      facts(factsOf(each)),
      typesOf(key, each),
      running.length > 0 && runningTable(name, running),
    );
  }

  function typesOf(key, { types, queue }) {
    const shown = open.has(key) ? types : types.slice(0, TYPES);
    const left = types.length - shown.length;
    function more() {
      open.add(key);
      app.draw();
    }
    const tag = (type) => h('a.tag', { href: link('jobs', { type, queue }) }, type);
    return h('p', shown.map(tag), left > 0 && button(`${left} more`, more, 'link.more-types'));
  }

  return {
    open({ worker }) {
      wanted = worker ?? '';
    },
    draw() {
      const { workers } = app.stats;
      const shown = workers.filter((each) => !wanted || each.worker === wanted);
      if (!shown.length) {
        return wanted ? gone() : none;
      }
      return [
        h('p', { key: 'sum' }, wanted ? all() : sum(workers)),
        h('div.grid', { key: 'grid' }, shown.map(card)),
      ];
    },
  };
}

function sum(workers) {
  const living = workers.filter((each) => !each.lost);
  const threads = living.reduce((n, each) => n + each.threads, 0);
  const busy = living.reduce((n, each) => n + each.running.length, 0);
  const ids = (some) => new Set(some.map((each) => each.worker)).size;
  const lost = ids(workers) - ids(living);
  const words = `${plural(ids(living), 'worker')}, ${number(busy)} of ${plural(threads, 'thread')} busy`;
  return [words, lost > 0 && [', ', h('b.late', `${number(lost)} lost`)]];
}

const nameOf = ({ queue, host, pid, http }) =>
  http ? `${queue} over HTTP from ${host}` : `${queue} on ${host}:${pid}`;

// What a lost one ran is not listed: it is taken back, or runs elsewhere.
function left({ last_beat_at }) {
  const since = ['Not heard of for ', when(last_beat_at, 'since')];
  return h('p.wrong', since, '. What it ran is taken back.');
}

function busy(name, { running, threads }) {
  return h(
    'p',
    bar(running.length, threads, `Busy threads of ${name}`),
    `${running.length} of ${plural(threads, 'thread')} busy`,
  );
}

function factsOf(each) {
  const { worker, http, version, last_beat_at, done, failed, up_s, load, cpus } = each;
  const known = done !== undefined; // a worker of the release before does not tell
  const href = link('workers', { worker });
  return [
    ['Worker', h('a', { href, title: worker }, http ? visible(worker) : short(worker))],
    known && ['Done', number(done)],
    known && ['Failed', failed ? h('b.late', number(failed)) : '0'],
    known && ['Up', span(up_s * 1000)],
    load !== undefined && ['Load of the host', `${load} on ${plural(cpus, 'core')}`],
    ['Last heard of', when(last_beat_at)],
    !http && ['Version', version],
  ];
}

function runningTable(name, running) {
  const row = (run) => [run.job_id, jobLink(run.job_id, run.type), span(run.for_s * 1000)];
  return table(`Running: ${name}`, ['Job', '#For'], running.map(row), 'plain');
}
