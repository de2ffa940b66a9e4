// The frame: which view is shown, one poll at a time, and the controls around the view.
import { askAnew, call, Problem } from './api.js';
import { h, show } from './dom.js';
import { drawHealth, errorsAmong, findingsOf, tell } from './health.js';
import { apiKey, learn, may, nameOfRole } from './key.js';
import { overview } from './overview.js';
import { loading } from './parts.js';
import { age, clock, fullTime, number } from './words.js';

const SLOWEST_MS = 10000; // between two polls when they fail
const STATS_MS = 10000; // between two of /stats, for a view that does not show them
const LATE_MS = 5000;
const EVERY = 'jobqueue-every';
const THEME = 'jobqueue-theme';
const NEXT_THEME = { auto: 'dark', dark: 'light', light: 'auto' };
// A view without a function is loaded when it is first shown: the first visit stays light.
const VIEWS = {
  '': ['Overview', overview],
  jobs: ['Jobs'],
  dead: ['Dead letters'],
  history: ['History'],
  queues: ['Queues'],
  types: ['Types'],
  schedules: ['Schedules'],
  limits: ['Limits'],
  flows: ['Workflows'],
  workers: ['Workers'],
  webhooks: ['Webhooks'],
  create: ['Create'],
  system: ['System'],
  search: ['Found'],
};
const TITLES = Object.fromEntries(Object.entries(VIEWS).map(([name, [title]]) => [name, title]));

const byId = (name) => document.getElementById(name);
const say = async (...words) => (await import('./dialogs.js')).toast(...words);
const main = byId('main');
const every = byId('every'); // seconds between two polls; 0: none
const search = byId('search');

// What views get to know and may ask for.
const app = {
  stats: null,
  selected: 0,
  go(hash) {
    location.hash = hash;
  },
  refresh: () => poll(true),
  draw,
  pace,
};

let keepPlace = (change) => change(); // until keys.js is there

// --- which view

const kept = {}; // views, as they were left
let view = {};
let makeJob = null; // the view of one job, once it is loaded

// A view has draw(), and perhaps title, open(params, same), poll(signal), drawn(), act(action, id),
// clear() and polls: false when it does not show app.stats.
function route() {
  const [path, params = ''] = location.hash.replace(/^#\/?/, '').split('?');
  const [first, id] = path.split('/');
  const name = Object.hasOwn(VIEWS, first) ? first : '';
  if (id ? !makeJob : !VIEWS[name][1]) {
    load(id ? 'job' : name);
    return;
  }
  const isAnother = view.name !== name || view.id !== id;
  if (isAnother) {
    enter(name, id);
  }
  const isSame = view.params === params;
  Object.assign(view, { name, id, params });
  app.selected = 0;
  view.open?.(Object.fromEntries(new URLSearchParams(params)), isSame);
  if (isAnother) {
    main.replaceChildren(view.element);
  }
  openMenu(false);
  nameThePage();
  draw();
  if (isAnother) {
    placeInView(isSame);
  }
  poll(true);
}

// Its file and its function have the view's name.
async function load(name) {
  try {
    const module = await import(`./${name}.js`);
    if (name === 'job') {
      makeJob = module.job;
    } else {
      VIEWS[name][1] = module[name];
    }
    route();
  } catch (error) {
    say(`This view could not be loaded: ${error.message}`);
  }
}

function enter(name, id) {
  Object.assign(view, { scroll: scrollY, focus: document.activeElement });
  const [, make] = VIEWS[name];
  if (id) {
    view = makeJob(app, id);
  } else {
    kept[name] ??= make(app);
    view = kept[name];
  }
  view.element ??= h('div');
}

const titleOf = ({ title, name }) => title ?? TITLES[name];

function nameThePage() {
  document.body.dataset.view = view.name;
  show(byId('title'), titleOf(view));
}

// Scroll and focus are as they were left, or at the beginning.
function placeInView(isSame) {
  document.querySelector('nav [aria-current]')?.scrollIntoView({ inline: 'center' });
  scrollTo(0, isSame ? (view.scroll ?? 0) : 0);
  if (isSame && view.focus?.isConnected) {
    view.focus.focus({ preventScroll: true });
  } else if (hasAsked) {
    byId('title').focus({ preventScroll: true });
  }
}

function draw() {
  if (!view.element) {
    return; // the first view's file is still on its way
  }
  const findings = findingsOf(app.stats, failure);
  const errors = errorsAmong(findings.open);
  document.title = `${errors ? `(${number(errors)}) ` : ''}${titleOf(view)} · jobqueue`;
  drawNavigation();
  drawChoices();
  drawHealth(app, findings, view.name === '' && !view.id);
  const isKnown = app.stats || view.id;
  keepPlace(() => show(view.element, isKnown ? view.draw() : loading()));
  view.drawn?.();
  show(byId('who'), nameOfRole());
}

function drawNavigation() {
  const { jobs = {}, queues = [], workers = [] } = app.stats ?? {};
  const counts = {
    jobs: jobs.queued + jobs.processing,
    dead: jobs.failed,
    queues: queues.length,
    workers: new Set(workers.filter((each) => !each.lost).map((each) => each.worker)).size,
    webhooks: queues.reduce((sum, each) => sum + (each.untold?.failed ?? 0), 0),
  };
  const entry = (name) =>
    h(
      'a',
      { href: `#/${name}`, 'aria-current': view.name === name && 'page' },
      TITLES[name],
      counts[name] > 0 && h(`span.count.${name}`, number(counts[name])),
    );
  const isShown = {
    search: false,
    history: app.stats?.record || view.name === 'history',
    create: may('submit'),
  };
  const names = Object.keys(VIEWS).filter((name) => isShown[name] ?? true);
  show(document.querySelector('nav'), names.map(entry));
}

// What fields for a type or a queue propose.
function drawChoices() {
  const { queues = [], workers = [] } = app.stats ?? {};
  const choices = {
    type: workers.flatMap((each) => each.types),
    queue: queues.map((each) => each.queue),
  };
  for (const [name, values] of Object.entries(choices)) {
    const options = [...new Set(values)].map((value) => h('option', { value }));
    show(byId(`known-${name}`), options);
  }
}

// --- one poll at a time

let timer;
let running = null; // the AbortController of the poll under way
let hasAsked = false;
let failures = 0; // in a row
let failure = ''; // why the last poll failed
let goodAt = 0;
let statsAt = 0;

async function poll(isWantedNow) {
  if (running && !isWantedNow) {
    return;
  }
  running?.abort();
  clearTimeout(timer);
  running = new AbortController();
  const { signal } = running;
  try {
    await ask(view, signal);
    failures = 0;
    failure = '';
    goodAt = Date.now();
  } catch (error) {
    if (signal.aborted) {
      return;
    }
    failures += 1;
    failure = error.message;
    learntWith = undefined; // it may be another API, with other keys, that answers next
    if (!(error instanceof Problem)) {
      console.error(error);
    }
  }
  running = null;
  hasAsked = true;
  draw();
  tell(app.stats);
  pace();
}

async function ask(polled, signal) {
  await Promise.all([askWho(signal), askStats(polled, signal)]);
  if (!hasAsked) {
    draw(); // what is known is shown before what the view itself asks for
  }
  await polled.poll?.(signal);
  signal.throwIfAborted();
}

async function askStats(polled, signal) {
  if (polled.polls === false && Date.now() - statsAt <= STATS_MS) {
    return;
  }
  const stats = await call('GET', '/stats', undefined, signal);
  clock.learn(stats.now);
  app.stats = stats;
  statsAt = Date.now();
}

let learntWith; // the key of which the role is known

async function askWho(signal) {
  if (learntWith !== undefined && learntWith === apiKey()) {
    return;
  }
  const answer = await call('GET', '/whoami', undefined, signal);
  learntWith = apiKey();
  learn(answer);
}

// Plan the next poll.
function pace() {
  clearTimeout(timer);
  beat();
  const wait = waitMs();
  if (wait && !document.hidden && !running) {
    timer = setTimeout(poll, wait);
  }
}

function waitMs() {
  const usual = every.value * 1000;
  if (failures) {
    return Math.min(SLOWEST_MS, Math.max(usual, 1000 * 2 ** failures));
  }
  // What is selected must not move away under the hand that is about to act on it.
  return app.selected ? 0 : usual;
}

// Say how fresh the data are.
function beat() {
  const [kind, text] = pulse();
  const title = `It is ${fullTime(Date.now())}. All times are of this zone.`;
  Object.assign(byId('pulse'), { textContent: text, className: `pulse ${kind}`, title });
}

function pulse() {
  const old = goodAt ? `data ${age(goodAt)} old` : 'connecting';
  if (failures) {
    return ['late', old];
  }
  if (app.selected) {
    return ['paused', 'paused: rows are selected'];
  }
  if (Number(every.value) === 0) {
    return ['paused', old];
  }
  const isLate = Date.now() - goodAt > Math.max(LATE_MS, every.value * 3000);
  return isLate ? ['late', old] : ['live', 'live'];
}

setInterval(beat, 1000);
every.onchange = () => {
  localStorage.setItem(EVERY, every.value);
  poll(true);
};
document.addEventListener('visibilitychange', () => {
  if (document.hidden) {
    clearTimeout(timer);
  } else {
    poll(true);
  }
});

// --- controls

const keyboard = {
  titles: Object.fromEntries(Object.entries(TITLES).filter(([name]) => name !== 'search')),
  search,
  go: app.go,
  act: (action, id) => view.act?.(action, id),
  refresh: app.refresh,
  leave() {
    if (openMenu(false) || view.clear?.() || !view.id) {
      return;
    }
    if (kept.jobs) {
      history.back();
    } else {
      app.go('#/jobs');
    }
  },
};

// Keys that are pressed before their module is there are pressed again then.
async function loadKeys() {
  const pressed = [];
  const note = (event) => pressed.push(event);
  document.addEventListener('keydown', note);
  const { keepingPlace, listenToKeys } = await import('./keys.js');
  document.removeEventListener('keydown', note);
  keepPlace = keepingPlace;
  listenToKeys(keyboard);
  for (const event of pressed) {
    event.target.dispatchEvent(new KeyboardEvent('keydown', event));
  }
}

loadKeys();

// Loaded when somebody begins to type.
let finding = null;
const finder = () => {
  finding ??= import('./finder.js').then((module) => module.finder(search, app));
  return finding;
};
search.onfocus = async () => (await finder()).offer();
search.form.onsubmit = async (event) => {
  event.preventDefault();
  (await finder()).submit();
};

document.querySelector('.skip').onclick = (event) => {
  event.preventDefault();
  main.focus();
};

// The views, where there is no room for them. True: it was open.
function openMenu(isOpen) {
  const was = 'menu' in document.body.dataset;
  document.body.toggleAttribute('data-menu', isOpen);
  byId('menu').setAttribute('aria-expanded', isOpen);
  return was;
}

byId('menu').onclick = () => openMenu(!('menu' in document.body.dataset));
document.addEventListener('click', ({ target }) => {
  if (!target.closest('body > header')) {
    openMenu(false);
  }
});

byId('who').onclick = async () => {
  const { account } = await import('./account.js');
  account(() => {
    askAnew();
    poll(true);
  });
};

function showChoices() {
  const theme = localStorage.getItem(THEME) ?? 'auto';
  document.documentElement.dataset.theme = theme;
  show(byId('theme'), `Theme: ${theme}`);
  every.value = localStorage.getItem(EVERY) ?? '2';
}

byId('theme').onclick = () => {
  localStorage.setItem(THEME, NEXT_THEME[document.documentElement.dataset.theme]);
  showChoices();
};
showChoices();
// What is chosen in another tab holds here too.
addEventListener('storage', () => {
  showChoices();
  pace();
});
addEventListener('hashchange', route);
addEventListener('resize', draw);
// Of what was asked for by hand.
addEventListener('unhandledrejection', (event) => {
  if (event.reason instanceof Problem) {
    event.preventDefault();
    say(event.reason.message, 'error');
  }
});
for (const link of document.querySelectorAll('link[rel=later]')) {
  link.rel = 'modulepreload';
}
route();
