// The job types: which of them makes a queue grow, and a switch to pause it.
import { call } from './api.js';
import { h } from './dom.js';
import { breakable, button, empty, link, loading, panel, status, table } from './parts.js';
import { number, plural, span } from './words.js';

const LATE_S = 60;
// How a column sorts: the worst first. A name in the address with - before it: the other way.
const SORTS = {
  type: ['Type', ({ type, queue }) => `${type} ${queue}`],
  waiting: ['#Waiting', ({ waiting }) => -waiting],
  oldest: ['#Oldest', ({ oldest_age_s }) => -(oldest_age_s ?? -1)],
  growth: ['#Growth a minute', ({ growth_per_minute }) => -growth_per_minute],
  in: ['#In', ({ submitted_per_minute }) => -submitted_per_minute],
  ended: ['#Done / failed', (each) => -each.done_per_minute - each.failed_per_minute],
  running: ['#Running', ({ running }) => -running],
  dead: ['#Dead', ({ dead }) => -dead],
  share: ['#Time', ({ share }) => -share],
  wait: ['#Wait p50 / p95', ({ wait_p95_ms }) => -(wait_p95_ms ?? -1)],
  run: ['#Run p50 / p95', ({ run_p95_ms }) => -(run_p95_ms ?? -1)],
};
const NAMES = Object.keys(SORTS);
const HEADS = [...NAMES.map((name) => SORTS[name][0]), '#Action'];

export function types(app) {
  let sorted = 'growth';
  let withIdle = '';
  let queue = ''; // or those of all
  let found = null; // what /types says
  const to = (changes) => link('types', { sort: sorted, idle: withIdle, queue, ...changes });

  function sortBy(name) {
    app.go(to({ sort: sorted === name ? `-${name}` : name }));
  }

  async function toggle({ queue, type, paused }) {
    await call('POST', `/queues/${queue}/types/${type}/${paused ? 'resume' : 'pause'}`);
    app.refresh();
  }

  function row(each) {
    const does = each.paused ? 'Resume' : 'Pause';
    const label = `${does} ${each.type} in ${each.queue}`;
    const pause = button(does, () => toggle(each), 'pause', { label });
    return [`${each.queue} ${each.type}`, ...cells(each), pause];
  }

  function list(shown) {
    const rows = order(shown, sorted).map(row);
    const sorting = { names: NAMES, sorted, sortBy };
    return panel('types', '', table('Types', HEADS, rows, 'cards.many.types', sorting));
  }

  // Where the table has no heads.
  function chooser() {
    const chosen = sorted.replace('-', '');
    const option = (name) =>
      h(
        'option',
        { value: name, selected: name === chosen },
        SORTS[name][0].replace('#', '').toLowerCase(),
      );
    const choose = ({ target }) => app.go(to({ sort: target.value }));
    const select = h('select', { onchange: choose }, NAMES.map(option));
    return h('label.sorting', { key: 'sorting' }, 'Sort by ', select);
  }

  function idleLink(n) {
    const text = withIdle ? 'Hide idle types' : `Show ${plural(n, 'idle type')}`;
    return h('p', { key: 'idle' }, h('a', { href: to({ idle: withIdle ? '' : '1' }) }, text));
  }

  return {
    open({ sort, idle, queue: wanted }) {
      withIdle = idle ?? '';
      queue = wanted ?? '';
      sorted = Object.hasOwn(SORTS, sort?.replace('-', '') ?? '') ? sort : 'growth';
    },
    async poll(signal) {
      found = await call('GET', '/types', undefined, signal);
    },
    draw() {
      if (!found) {
        return loading();
      }
      const { types_more } = found;
      const types = found.types.filter((each) => !queue || each.queue === queue);
      const all = queue && h('a', { href: to({ queue: '' }) }, 'Show all queues');
      if (!types.length) {
        return empty('No types yet', h('p', 'A worker brings them, or a job.'), all);
      }
      const idle = types.filter(isIdle);
      const shown = withIdle ? types : types.filter((each) => !isIdle(each));
      return [
        h('p.sentence', { key: 'answer' }, answer(types)),
        queue && h('p', { key: 'queue' }, `Of the queue ${queue}. `, all),
        shown.length > 0 && [chooser(), list(shown)],
        idle.length > 0 && idleLink(idle.length),
        types.some(({ exact, dead_exact }) => !exact || !dead_exact) &&
          h('p', '≈ A long queue: estimated from some of its jobs.'),
        h(
          'p.soft',
          { key: 'how' },
          'In, done and failed: a minute. Time: the share of all that ran in the last minutes.',
        ),
        types_more > 0 && h('p', `${plural(types_more, 'further type')} left out.`),
      ];
    },
  };
}

function order(rows, sorted) {
  const name = sorted.replace('-', '');
  const turn = sorted === name ? 1 : -1;
  const [, keyOf] = SORTS[name];
  const compare = (a, b) => (a < b ? -1 : Number(a > b));
  return [...rows].sort((a, b) => turn * compare(keyOf(a), keyOf(b)));
}

// Nothing of it waits or runs, and nothing has ended lately.
function isIdle({ waiting, running, run_p95_ms, failed_per_minute, paused, dead }) {
  const isStill = !waiting && !running && run_p95_ms === null && !failed_per_minute;
  return isStill && !paused && !dead;
}

const jobsOf = ({ type, queue }) => link('jobs', { type, queue });

// Which type makes it grow, and why.
function answer(types) {
  const [worst] = types; // they come in this order
  if (worst.growth_per_minute < 1) {
    return 'No type grows.';
  }
  const by = number(worst.growth_per_minute);
  return [
    h('a', { href: jobsOf(worst) }, h('strong', breakable(worst.type))),
    ` in the queue ${worst.queue} grows most, by ${by} a minute: ${reasonOf(worst)}.`,
  ];
}

function reasonOf({ handled, paused, done_per_minute, failed_per_minute }) {
  if (paused) {
    return 'it is paused';
  }
  if (!handled) {
    return 'no living worker handles it';
  }
  const failed = failed_per_minute >= 1 ? `, and ${number(failed_per_minute)} fail` : '';
  return `${number(done_per_minute)} are done a minute${failed}`;
}

function cells(each) {
  const { type, queue, waiting, exact, handled, paused } = each;
  const about = exact ? '' : '≈ ';
  const name = h('a', { href: jobsOf(each) }, h('strong', breakable(type)));
  return [
    [
      name,
      h(
        'div',
        h('small', breakable(queue)),
        h(
          'a.see',
          { href: link('', { queue, type }), label: `Chart of ${type} in ${queue}` },
          'Chart',
        ),
      ),
      paused && h('div', status('paused')),
      !handled && waiting > 0 && h('div', status('warning', 'no handler')),
    ],
    [waiting > 0 && about, number(waiting)],
    oldest(each),
    growth(each),
    number(each.submitted_per_minute),
    [number(each.done_per_minute), ' / ', failures(each)],
    number(each.running),
    deadLetters(each),
    each.share === null ? '–' : `${number(each.share * 100)} %`,
    pair(each.wait_p50_ms, each.wait_p95_ms),
    pair(each.run_p50_ms, each.run_p95_ms),
  ];
}

const length = (ms) => h('span.length', span(ms));
const pair = (p50, p95) => (p95 === null ? '–' : [length(p50), ' / ', length(p95)]);

function oldest({ oldest_age_s }) {
  if (oldest_age_s === null) {
    return '–';
  }
  return h(oldest_age_s > LATE_S ? 'b.late' : 'span', span(oldest_age_s * 1000));
}

const failures = ({ failed_per_minute: n }) => h(n >= 1 ? 'b.late' : 'span', number(n));

function deadLetters({ dead, dead_exact, type, queue }) {
  if (!dead) {
    return '0';
  }
  const href = link('jobs', { status: 'failed', type, queue });
  return h('a', { href }, `${dead_exact ? '' : '≈ '}${number(dead)}`);
}

function growth({ growth_per_minute, waiting, exact }) {
  if (growth_per_minute >= 1) {
    return h('b.late', `${exact ? '' : '≈ '}+${number(growth_per_minute)}`);
  }
  if (growth_per_minute <= -1) {
    return `−${number(-growth_per_minute)}`;
  }
  return waiting ? '0' : '–';
}
