// The chart in the centre: of all queues, of a queue or of a type; an hour or two days; a part of it.
import { call } from './api.js';
import { clockOf, dayOf } from './chart.js';
import { h, show } from './dom.js';
import { link, query } from './parts.js';
import { capitalised, number, span } from './words.js';
import { work } from './work.js';

const MARKS_MS = 15000; // between two looks for marks
const HOUR_MS = 3600000;
const MINUTE_MS = 60000;
const SPANS = { hour: 'Last hour', two_days: 'Two days' };
const KINDS = { jobs: 'Jobs', times: 'Times' };
const FRAME = 34; // the border and padding of the panel
const FEW = 0.1; // of what waits now: when it was so little, the backlog began

export function trend(app) {
  let chosen = {}; // queue, type, span, show, since, until
  let rows = null; // of what is chosen, where /stats does not have it
  let loaded = ''; // what these are of
  let marks = [];
  let marksAt = 0; // when they were last asked for
  let durations = null; // the other chart, once it is loaded
  let drawn = { of: '', node: null };
  const to = (changes) => link('', { ...chosen, ...changes });
  const choose = (changes) => app.go(to({ ...changes, since: '', until: '' }));

  const queue = chooser('queue', 'Queue');
  const type = chooser('type', 'Type');
  const spans = h('span.switch', { role: 'group', label: 'How long' });
  const kinds = h('span.switch', { role: 'group', label: 'What' });
  const head = h('header');
  const body = h('div.body');
  const controls = h('div.choices', queue, type, kinds, spans);
  const section = h('section.panel.trend', { key: 'trend', label: 'Chart' }, head, controls, body);

  function chooser(name, label) {
    return h('select', {
      name,
      label,
      onchange: (event) => choose({ [name]: valueOf(event.target) }),
    });
  }

  function drawControls() {
    const { queues, types } = app.stats;
    const ofQueue = types.filter((each) => !chosen.queue || each.queue === chosen.queue);
    offer(
      queue,
      'All queues',
      queues.map((each) => each.queue),
      chosen.queue,
    );
    offer(
      type,
      'All types',
      ofQueue.map((each) => each.type),
      chosen.type,
    );
    show(spans, switches(SPANS, 'span', chosen.span || 'hour'));
    show(kinds, switches(KINDS, 'show', chosen.show || 'jobs'));
  }

  const switches = (names, field, now) =>
    Object.entries(names).map(([name, text]) => {
      const changes = field === 'span' ? { span: name, since: '', until: '' } : { [field]: name };
      return h('a', { href: to(changes), 'aria-current': now === name && 'true' }, text);
    });

  // --- what is shown

  const isUsual = () => !chosen.queue && !chosen.type && (chosen.span ?? 'hour') === 'hour';

  async function load(signal) {
    if (isUsual()) {
      rows = null;
      loaded = '';
      return;
    }
    const asked = query({ queue: chosen.queue, type: chosen.type, span: chosen.span }).toString();
    const since = loaded === asked && rows.at(-3)?.at;
    const answer = await call('GET', `/series?${asked}&${query({ since })}`, undefined, signal);
    const fresh = new Set(answer.rows.map(({ at }) => at));
    const kept = since ? rows.filter(({ at }) => !fresh.has(at)) : [];
    rows = [...kept, ...answer.rows].slice(
      kept.length && answer.rows.length ? -wholeOf(answer) : 0,
    );
    loaded = asked;
  }

  const wholeOf = ({ step_s }) => (step_s === 60 ? 60 : 288);

  async function loadDurations() {
    if (chosen.show === 'times' && !durations) {
      ({ durations } = await import('./durations.js'));
    }
  }

  async function loadMarks(signal) {
    if (Date.now() - marksAt < MARKS_MS) {
      return;
    }
    marksAt = Date.now();
    const since = marks[0]?.at ?? '';
    const answer = await call('GET', `/marks?${query({ since })}`, undefined, signal);
    const fresh = answer.marks.filter((mark) => !marks.some((each) => isSame(each, mark)));
    marks = [...fresh, ...marks];
    if (fresh.length) {
      app.draw();
    }
  }

  // What waits now. Of the row before, what a reaper has not noted yet; what came of a type it notes
  // with that.
  function filled(list) {
    const waiting = waitingNow(app.stats, chosen);
    const last = list.length - 1;
    const isNoted = list[last - 1]?.waiting !== null;
    const before = isNoted ? list[last - 1]?.waiting : list[last - 2]?.waiting;
    return list.map((row, at) => {
      const cameOf = chosen.type && (at === last || !isNoted) ? { submitted: null } : {};
      if (at < last - 1) {
        return row;
      }
      return { ...row, ...cameOf, waiting: at === last ? waiting : (before ?? null) };
    });
  }

  function zoomed(list) {
    const { since, until } = chosen;
    return since
      ? list.filter(
          ({ at }) => Date.parse(at) >= Date.parse(since) && Date.parse(at) < Date.parse(until),
        )
      : list;
  }

  function figure(all, width) {
    const shown = zoomed(all);
    const stepMs = Date.parse(all[1].at) - Date.parse(all[0].at);
    const of = JSON.stringify([shown, marks.length, width, chosen, app.stats.now.slice(0, 10)]);
    if (drawn.of !== of) {
      const chose = (first, last) =>
        app.go(to({ since: shown[first].at, until: endOf(shown[last].at, stepMs) }));
      const each = stepMs === MINUTE_MS ? 'by minute' : 'by ten minutes';
      const title = `${nameOf(chosen)}, ${each}`;
      const what = { title, each, rows: shown, stepMs, marks, chose, width };
      const draw = chosen.show === 'times' ? durations : work;
      drawn = { of, node: shown.length ? draw(what) : null };
    }
    return drawn.node ?? h('p.empty', 'This part is not kept any more.');
  }

  // Of the part that is shown: how much, and its jobs.
  function part(all) {
    if (!chosen.since) {
      return null;
    }
    const { since, until } = chosen;
    const shown = zoomed(all);
    const sum = (name) => shown.reduce((total, row) => total + row[name], 0);
    const jobs = (name, text) =>
      h(
        'a',
        {
          href: link('jobs', {
            status: name,
            type: chosen.type,
            queue: chosen.queue,
            since,
            until,
          }),
        },
        text,
      );
    return h(
      'p.part',
      { key: 'part' },
      h('strong', `${dated(since, all)} to ${clockOf(until)}`),
      h('span', `${number(sum('submitted'))} came`),
      jobs('done', `${number(sum('done'))} done`),
      jobs('failed', `${number(sum('failed'))} failed`),
      h('a', { href: to({ since: '', until: '' }) }, `Show all of the ${spanName(chosen)}`),
    );
  }

  return {
    section,
    open(params) {
      const { queue: inQueue, type: ofType, span: long, show: kind, since, until } = params;
      const isPart = since && until;
      const isOld = isPart && Date.now() - Date.parse(since) > HOUR_MS;
      chosen = { queue: inQueue, type: ofType, show: kind, span: isOld ? 'two_days' : long };
      if (isPart) {
        Object.assign(chosen, { since, until });
      }
    },
    async poll(signal) {
      loadMarks(signal).catch(() => {});
      await Promise.all([load(signal), loadDurations()]);
    },
    // True: it was a part that was shown.
    clear() {
      if (chosen.since) {
        app.go(to({ since: '', until: '' }));
      }
      return Boolean(chosen.since);
    },
    draw(width) {
      drawControls();
      const all = filled(rows ?? (isUsual() ? app.stats.minutes : []));
      show(head, h('h2', headline(app.stats, chosen)));
      const isReady = all.length > 0 && (chosen.show !== 'times' || durations);
      const answer = all.length && story(app.stats, chosen, all);
      show(
        body,
        answer && h('p.story', { key: 'story' }, answer),
        isReady ? figure(all, width - FRAME) : h('p.empty', 'Loading…'),
        part(all),
      );
      // The one that is shown: what is new in it was moved there out of the one that was drawn.
      drawn.node = body.querySelector('figure') ?? drawn.node;
      return section;
    },
  };
}

const valueOf = (select) => (select.selectedIndex ? select.value : '');
const isSame = (a, b) => a.at === b.at && a.text === b.text;
const endOf = (at, stepMs) => new Date(Date.parse(at) + stepMs).toISOString();
const spanName = ({ span: long }) => (long === 'two_days' ? 'two days' : 'hour');

function nameOf({ queue, type }) {
  const where = queue ? ` in ${queue}` : '';
  return type ? `${type}${where}` : queue || 'All queues';
}

// Options of a select, which stays as it is while somebody chooses.
function offer(select, all, names, now = '') {
  const values = [all, ...new Set([...names, now].filter(Boolean).sort())];
  show(
    select,
    values.map((value) => h('option', { value, key: value }, value)),
  );
  select.selectedIndex = Math.max(0, values.indexOf(now, 1));
}

// --- how it goes, in words

const matching = ({ queue, type }, each) =>
  (!queue || each.queue === queue) && (!type || each.type === type);
const sumOf = (list, name) => list.reduce((total, each) => total + each[name], 0);

function waitingNow({ queues, types }, chosen) {
  return chosen.type
    ? sumOf(
        types.filter((each) => matching(chosen, each)),
        'waiting',
      )
    : queues
        .filter((each) => matching({ queue: chosen.queue }, each))
        .reduce((total, { jobs }) => total + jobs.queued, 0);
}

// What comes, ends and waits in a minute.
function paceOf(stats, chosen) {
  const waiting = waitingNow(stats, chosen);
  if (chosen.type) {
    const types = stats.types.filter((each) => matching(chosen, each));
    const out = sumOf(types, 'done_per_minute') + sumOf(types, 'failed_per_minute');
    const growth = sumOf(types, 'growth_per_minute');
    const drainS = out > 0 ? (60 * waiting) / out : null;
    return { came: Math.max(0, out + growth), out, growth, waiting, drainS };
  }
  const queues = stats.queues.filter((each) => matching({ queue: chosen.queue }, each));
  const came = sumOf(queues, 'submitted_per_minute');
  const growth = sumOf(queues, 'growth_per_minute');
  const waits = queues.filter(({ jobs }) => jobs.queued);
  const isStuck = waits.some(({ drain_s }) => drain_s === null);
  const drainS = isStuck ? null : Math.max(0, ...waits.map(({ drain_s }) => drain_s));
  return { came, out: Math.max(0, came - growth), growth, waiting, drainS };
}

function headline(stats, chosen) {
  const { came, out, growth, waiting, drainS } = paceOf(stats, chosen);
  const about = chosen.type ? '≈ ' : '';
  const name = chosen.type || chosen.queue ? `${nameOf(chosen)}: in` : 'In';
  const rates = `${name} ${about}${number(came)}, out ${number(out)} a minute`;
  if (waiting && growth >= 1) {
    return `${rates}: grows by ${about}${number(growth)} a minute`;
  }
  if (!waiting) {
    return `${rates}: nothing waits`;
  }
  return drainS === null
    ? `${rates}: ${number(waiting)} wait`
    : `${rates}: ${number(waiting)} wait, drained in ${span(Math.max(1000, drainS * 1000))}`;
}

// Since when it grows, most by which type, and whether it will drain.
function story(stats, chosen, rows) {
  const { growth, waiting, drainS } = paceOf(stats, chosen);
  if (!waiting || growth < 1) {
    return '';
  }
  const at = rows.findLastIndex((row) => row.waiting !== null && row.waiting <= FEW * waiting);
  const since = rows[at + 1]?.at;
  const long = rows.length * (Date.parse(rows[1].at) - Date.parse(rows[0].at));
  const when = at < 0 || !since ? `for more than ${span(long)}` : `since ${dated(since, rows)}`;
  const types = stats.types.filter((each) => matching(chosen, each));
  const [worst] = types.sort((a, b) => b.growth_per_minute - a.growth_per_minute);
  const most = !chosen.type && worst?.growth_per_minute >= 1;
  return [
    capitalised(`${number(waiting)} wait; it has grown ${when}`),
    most && [
      ', most by ',
      h('a', { href: link('', { queue: worst.queue, type: worst.type }) }, worst.type),
      ` (+${number(worst.growth_per_minute)} a minute)`,
    ],
    drainS === null || growth >= 1 ? '. At this pace it does not drain.' : '.',
  ].flat();
}

function dated(at, rows) {
  const isLong = dayOf(rows[0].at) !== dayOf(rows.at(-1).at);
  return isLong ? `${dayOf(at)}, ${clockOf(at)}` : clockOf(at);
}
