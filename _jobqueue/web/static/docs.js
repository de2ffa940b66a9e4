// The page of the API, made from /openapi.json: its calls, to be found, read and tried.
import { card, keyChanged, methodTag } from './docs-call.js';
import { fieldsOf, resolve, use } from './docs-schema.js';
import { h } from './dom.js';
import { apiKey, forgetKey, isKept, keepKey } from './key.js';
import { button, input } from './parts.js';

const METHODS = ['get', 'post', 'put', 'delete'];
const THEME = 'jobqueue-theme'; // the dashboard's
const DEEPEST = 3; // schemas whose fields the filter knows
const WIDE = matchMedia('(min-width: 900px)');

const byId = (name) => document.getElementById(name);
const filter = byId('docs-filter');
const place = byId('docs-groups');

// --- reading the description

// Groups in the order of the description, with their calls: [{ name, description, calls }].
function groupsOf(api) {
  const calls = Object.entries(api.paths).flatMap(([path, item]) =>
    Object.entries(item)
      .filter(([method]) => METHODS.includes(method))
      .map(([method, operation]) => ({ method, path, operation })),
  );
  return api.tags.map(({ name, description }) => ({
    name,
    description,
    calls: calls.filter(({ operation }) => operation.tags.includes(name)),
  }));
}

// All that the filter finds a call by, in small letters.
function wordsOf({ method, path, operation }, group) {
  const { operationId, summary, parameters = [], requestBody } = operation;
  const content = Object.values(resolve(requestBody).content ?? {});
  const words = [
    ...[method, path, operationId, summary, group.name],
    ...parameters.map(resolve).flatMap(({ name, description }) => [name, description]),
    ...content.flatMap(({ schema }) => wordsIn(schema, DEEPEST)),
  ];
  return words.join(' ').toLowerCase();
}

function wordsIn(part, depth) {
  const inner = resolve(part).items;
  const below = depth > 0 && inner ? wordsIn(inner, depth - 1) : [];
  const own = fieldsOf(part).flatMap(({ name, schema }) => [
    name,
    resolve(schema).description,
    ...(depth > 0 ? wordsIn(schema, depth - 1) : []),
  ]);
  return [...own, ...below];
}

// --- the page

let shown = []; // [{ words, article, entry }]
let sections = []; // [{ elements, articles }]

function draw(api) {
  use(api);
  const groups = groupsOf(api);
  shown = groups.flatMap((group) =>
    group.calls.map((call) => ({
      words: wordsOf(call, group),
      article: card(call),
      entry: entry(call),
    })),
  );
  const parts = [...shown];
  sections = groups.map((group) => drawGroup(group, parts.splice(0, group.calls.length)));
  byId('docs-calls').replaceChildren(...sections.map(({ list }) => list));
  place.replaceChildren(...sections.map(({ section }) => section));
  byId('docs-about').replaceChildren(...about(api.info));
}

function drawGroup({ name, description }, calls) {
  const articles = calls.map(({ article }) => article);
  return {
    articles,
    list: h(
      'div',
      h('h2', name),
      calls.map((each) => each.entry),
    ),
    section: h('section', h('h2', name), h('p.soft', description), articles),
  };
}

function entry({ method, path, operation }) {
  const properties = {
    href: `#${operation.operationId}`,
    title: `${method.toUpperCase()} ${path}`,
  };
  return h('a', properties, methodTag(method), h('span', operation.summary));
}

function about({ description, version }) {
  return [
    h('p', description),
    h(
      'p.soft',
      `Version ${version}. Other renderers of OpenAPI, and generators of clients, read `,
      h('a', { href: '/openapi.json' }, '/openapi.json'),
      '.',
    ),
  ];
}

// --- finding a call

function sift() {
  const wanted = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const { words, article, entry: link } of shown) {
    article.hidden = !wanted.every((word) => words.includes(word));
    link.hidden = article.hidden;
  }
  for (const { articles, list, section } of sections) {
    section.hidden = articles.every((each) => each.hidden);
    list.hidden = section.hidden;
  }
  const found = shown.filter(({ article }) => !article.hidden).length;
  byId('docs-found').textContent = wanted.length
    ? `${found} of ${shown.length} calls`
    : `${shown.length} calls`;
}

filter.oninput = sift;
filter.form.onsubmit = (event) => event.preventDefault();
addEventListener('keydown', (event) => {
  const isTyping = event.target.matches?.('input, textarea, select');
  if (event.key === '/' && !isTyping && !event.ctrlKey && !event.metaKey) {
    event.preventDefault();
    filter.focus();
  }
  if (event.key === 'Escape' && event.target === filter) {
    filter.value = '';
    sift();
  }
});

function openAll() {
  const folds = shown
    .filter(({ article }) => !article.hidden)
    .map(({ article }) => article.firstChild);
  const open = folds.some((each) => !each.open);
  for (const each of folds) {
    each.open = open;
  }
}

// The call that the address names is open, in sight and has the focus.
function goToCall() {
  const found = shown.find(({ article }) => article.id === location.hash.slice(1));
  for (const { entry: link } of shown) {
    link.ariaCurrent = link === found?.entry ? 'true' : null;
  }
  if (found) {
    if (found.article.hidden) {
      filter.value = '';
      sift();
    }
    const details = found.article.firstChild;
    details.open = true;
    details.ontoggle(); // now, for what is inside makes the page as long as the jump needs it
    found.article.scrollIntoView();
    details.firstChild.focus({ preventScroll: true });
  }
}

// --- the key

function drawKey() {
  const field = input({
    id: 'docs-key',
    type: 'password',
    value: apiKey() ?? '',
    placeholder: 'none',
  });
  const keep = h('input', { id: 'docs-keep', type: 'checkbox', checked: isKept() });
  const save = () => {
    if (field.value.trim()) {
      keepKey(field.value.trim(), keep.checked);
    } else {
      forgetKey();
    }
    keyChanged();
  };
  field.oninput = save;
  keep.onchange = save;
  byId('docs-keys').replaceChildren(
    h('label', { for: 'docs-key' }, h('span', 'API key, shared with the dashboard')),
    field,
    h('label.keep', keep, ' Keep it in this browser'),
  );
}

// --- its start

// The theme that was chosen in the dashboard, also when it is chosen in another tab.
function followTheme() {
  document.documentElement.dataset.theme = localStorage.getItem(THEME) ?? 'auto';
}

async function start() {
  drawKey();
  try {
    const reply = await fetch('/openapi.json');
    draw(await reply.json());
    sift();
    goToCall();
  } catch (error) {
    const sentence = `The description could not be read: ${error.message}`;
    place.replaceChildren(h('p.soft', { role: 'alert' }, sentence));
  }
}

const foldList = () => byId('docs-list').toggleAttribute('open', WIDE.matches);
WIDE.onchange = foldList;
foldList();
byId('docs-all').append(button('Open or fold all', openAll, 'quiet'));
followTheme();
addEventListener('storage', () => {
  followTheme();
  drawKey();
});
addEventListener('hashchange', goToCall);
start();
