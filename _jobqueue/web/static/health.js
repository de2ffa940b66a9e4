// What is wrong: the worst first, a line each, with the button that puts it right. The rest is folded.
import { call } from './api.js';
import { h, show } from './dom.js';
import { may } from './key.js';
import { breakable, button, icon, link, status } from './parts.js';
import { capitalised, number, plural, when } from './words.js';

const OPEN = 3; // lines that are shown before somebody asks for more
const TELL_MS = 15000; // not more often than one can hear
const WEBHOOK = 'jobqueue.webhook';

// Where to look into it, by the finding's code.
const PAGES = {
  no_worker: () => '#/workers',
  worker_lost: () => '#/workers',
  paused: () => '#/queues',
  queue_full: () => '#/queues',
  no_handler: ({ queue, type }) => link('jobs', { status: 'queued', queue, type }),
  old_job: ({ queue }) => link('jobs', { status: 'queued', queue }),
  webhooks: ({ queue }) => link('jobs', { status: 'failed', queue, type: WEBHOOK }),
  dead_letters: ({ queue, kind }) =>
    kind ? link('jobs', { status: 'failed', queue, kind }) : link('dead', { queue }),
  runs_long: ({ queue, type, jobs, job_id }) =>
    jobs === 1 ? `#/jobs/${job_id}` : link('jobs', { status: 'processing', queue, type }),
  blocked: ({ job_id }) => `#/jobs/${job_id}`,
  schedule_late: () => '#/schedules',
  schedules_missed: () => '#/schedules',
};
const pageOf = (finding) => PAGES[finding.code]?.(finding) ?? '#/system';

let showsAll = false;
let showsAside = false;
const unfolded = new Set(); // the ids of those whose whole sentence is shown

// `failure` is why the API could not be asked, else ''.
export function findingsOf(stats, failure) {
  const all = failure ? [unreachable(failure)] : (stats?.health ?? []);
  return { open: all.filter(({ id }) => !isAside(id)), aside: all.filter(({ id }) => isAside(id)) };
}

export const errorsAmong = (findings) => findings.filter(({ level }) => level === 'error').length;

function unreachable(failure) {
  const reason = failure.replace(/\.$/, '');
  const text = `${reason}. It is asked again until it answers.`;
  return { id: 'unreachable', level: 'error', text, short: reason };
}

// On Overview all of them; elsewhere a chip that leads there, and what keeps the page itself from working.
export function drawHealth(app, { open, aside }, isOverview) {
  const isCut = open[0]?.id === 'unreachable';
  const listed = isOverview || isCut;
  show(document.getElementById('health'), listed && list(app, open, aside));
  show(document.getElementById('chip'), app.stats && !isCut && chip(open, isOverview));
}

function chip(open, isOverview) {
  if (!open.length) {
    return status('done', 'All clear');
  }
  const errors = errorsAmong(open);
  const text = errors ? plural(errors, 'error') : plural(open.length, 'warning');
  return !isOverview && h('a', { href: '#/' }, status(errors ? 'error' : 'warning', text));
}

function list(app, open, aside) {
  const shown = showsAll ? open : open.slice(0, OPEN);
  const hidden = open.length - OPEN;
  showsAside &&= aside.length > 0;
  const all = showsAside ? [...shown, ...aside] : shown;
  return [
    all.length > 0 &&
      h(
        'ul',
        { key: 'list' },
        byQueue(all).map((each) => line(app, each)),
      ),
    (hidden > 0 || aside.length > 0) &&
      h('p.rest', { key: 'rest' }, restOf(app, hidden, aside.length)),
  ];
}

function restOf(app, hidden, aside) {
  function toggleAll() {
    showsAll = !showsAll;
    app.draw();
  }
  function toggleAside() {
    showsAside = !showsAside;
    app.draw();
  }
  const state = (isOpen) => ({ 'aria-expanded': String(isOpen) });
  return [
    hidden > 0 &&
      button(showsAll ? 'Fewer' : `${number(hidden)} more`, toggleAll, 'link', {
        key: 'more',
        ...state(showsAll),
      }),
    aside > 0 &&
      button(`${number(aside)} set aside`, toggleAside, 'link', {
        key: 'aside',
        ...state(showsAside),
      }),
  ];
}

// Those of a queue stand together, at the place of the worst of them.
function byQueue(findings) {
  const groups = new Map();
  for (const finding of findings) {
    const key = finding.queue ?? finding.id;
    groups.set(key, [...(groups.get(key) ?? []), finding]);
  }
  return [...groups.values()].flatMap((group) =>
    group.map((finding, at) => ({ ...finding, repeats: at > 0 })),
  );
}

function line(app, finding) {
  const { id, level, queue, short, since, repeats } = finding;
  const isOpen = unfolded.has(id);
  function fold() {
    if (!unfolded.delete(id)) {
      unfolded.add(id);
    }
    app.draw();
  }
  const name = queue && h(repeats ? 'b.again' : 'b', queue);
  return h(
    `li.${level}`,
    { key: id },
    h(
      'button.fold',
      { type: 'button', onclick: fold, 'aria-expanded': String(isOpen) },
      icon(level),
      h('span.unseen', `${level}: `),
      name,
      h('span.short', short.replace(/\.$/, '')),
    ),
    since && h('small.since', when(since, 'since')),
    h('span.actions', remedy(app, finding), asideButton(app, finding)),
    isOpen && detail(app, finding),
  );
}

// The whole sentence; and what a narrow line leaves out.
function detail(app, finding) {
  const { text, jobs, since } = finding;
  return h(
    'div.finding',
    h('p', breakable(capitalised(text))),
    h(
      'p.actions',
      jobs > 0 && h('small', plural(jobs, 'job')),
      since && h('small', 'for ', when(since, 'since')),
      isCurable(finding) && h('a', { href: pageOf(finding) }, 'Show'),
      asideButton(app, finding),
    ),
  );
}

// True: its button puts it right. Else that leads to where it can be seen.
const isCurable = ({ code, kind }) =>
  may('admin') && (code === 'paused' || (code === 'dead_letters' && Boolean(kind)));

function remedy(app, finding) {
  const { id, code, queue, type, kind, jobs, short } = finding;
  if (id === 'unreachable') {
    return false;
  }
  const about = [type, queue && `in ${queue}`].filter(Boolean).join(' ');
  if (!isCurable(finding)) {
    return h('a.button', { href: pageOf(finding), label: `Show: ${short} ${about}` }, 'Show');
  }
  if (code === 'paused') {
    const path = type ? `/queues/${queue}/types/${type}/resume` : `/queues/${queue}/resume`;
    return button('Resume', () => resume(app, path), 'plain', { label: `Resume ${about}` });
  }
  const text = `Retry ${number(jobs)}`;
  const label = `${text} of ${kind} ${about}`;
  return button(text, () => retry(app, finding), 'retry', { label });
}

async function resume(app, path) {
  await call('POST', path);
  app.refresh();
}

async function retry(app, { queue, kind }) {
  const [{ bulk, outcome }, { toast }] = await Promise.all([
    import('./bulk.js'),
    import('./dialogs.js'),
  ]);
  const filter = { status: 'failed', queue, kind };
  const what = `dead letters of the kind ${kind} in the queue ${queue}`;
  const done = await bulk('retry', { filter }, what);
  if (done) {
    toast(outcome(done));
    app.refresh();
  }
}

function asideButton(app, { id, short }) {
  if (id === 'unreachable') {
    return false;
  }
  const is = isAside(id);
  function toggle() {
    setAside(id, !is);
    app.draw();
  }
  const title = is ? 'Show it again' : 'For an hour, in this browser';
  return button(is ? 'Bring back' : 'Set aside', toggle, 'quiet', {
    title,
    label: `${is ? 'Bring back' : 'Set aside for an hour'}: ${short}`,
  });
}

// --- set aside for an hour, in this browser: ids, and until when

const ASIDE = 'jobqueue-aside';
const HOUR_MS = 3600000;

const isAside = (id) => read()[id] > Date.now();

function setAside(id, aside) {
  const left = Object.entries(read()).filter(([each, until]) => each !== id && until > Date.now());
  const added = aside ? [[id, Date.now() + HOUR_MS]] : [];
  localStorage.setItem(ASIDE, JSON.stringify(Object.fromEntries([...left, ...added])));
}

function read() {
  try {
    return JSON.parse(localStorage.getItem(ASIDE)) ?? {};
  } catch {
    return {}; // what a hand has spoiled sets nothing aside
  }
}

// --- for those who hear the page

let toldAt = 0;

export function tell(stats) {
  if (!stats || Date.now() - toldAt < TELL_MS) {
    return;
  }
  const counts = Object.entries(stats.jobs).map(([name, n]) => `${number(n)} ${name}, `);
  const problems = plural(stats.health.length, 'problem');
  show(document.getElementById('counts'), `${problems}; `, counts);
  toldAt = Date.now();
}
