// JSON as a tree that folds; each key copies its path. Bounded, however large or deep the value is.
import { copy } from './dialogs.js';
import { h } from './dom.js';
import { button, isolated, panel } from './parts.js';
import { number } from './words.js';

const ROWS_MOST = 400; // that are drawn at once; what is left stays folded
const CHILDREN = 50; // of one list, until more are asked for
const OPEN_DEPTH = 3; // what is not too large is open up to here
const OPEN_MOST = 40;
const DEEP = 10; // levels, from which on they are moved in by less
const STRING_MOST = 400; // characters of one text, until all are asked for
const NAME = /^[A-Za-z_]\w*$/;

// What a person has folded and unfolded; as long as the view lives.
export const folds = () => ({ all: null, open: new Map(), shown: new Map() });

const isRaw = (value) => Boolean(JSON.isRawJSON?.(value));
const isContainer = (value) => value !== null && typeof value === 'object' && !isRaw(value);

function childrenOf(value) {
  return Array.isArray(value) ? value.map((each, at) => [at, each]) : Object.entries(value);
}

const sizeOf = (value) => (Array.isArray(value) ? value.length : Object.keys(value).length);

// As jq writes it: .orders[3].name
function below(path, key) {
  if (typeof key === 'number') {
    return `${path === '.' ? '.' : path}[${key}]`;
  }
  const end = path === '.' ? '' : path;
  return NAME.test(key) ? `${end}.${key}` : `${path === '.' ? '.' : path}[${JSON.stringify(key)}]`;
}

// `state` is that of folds(), `changed` draws anew.
export function treePanel(title, value, state, changed) {
  const text = () => JSON.stringify(value, null, 2);
  const isFoldable = isContainer(value) && sizeOf(value) > 0;
  function fold(all) {
    Object.assign(state, { ...folds(), all });
    changed();
  }
  const tools = h(
    'span.actions',
    isFoldable && button('Fold', () => fold(false), 'quiet', { label: `Fold ${title}` }),
    isFoldable && button('Unfold', () => fold(true), 'quiet', { label: `Unfold ${title}` }),
    button('Copy', () => copy(text(), title), 'quiet', { label: `Copy ${title}` }),
  );
  const budget = { rows: ROWS_MOST };
  const tree = rowOf({ path: '.', value, depth: 0 }, { state, changed, budget });
  return panel(
    title,
    [title, tools],
    h('div.tree', { tabindex: 0, role: 'region', label: title }, tree),
  );
}

function isOpen({ path, value, depth }, { state, budget }) {
  if (budget.rows <= 0) {
    return false;
  }
  return state.open.get(path) ?? state.all ?? (depth < OPEN_DEPTH && sizeOf(value) <= OPEN_MOST);
}

function rowOf(node, how) {
  const { path, key, value } = node;
  const name = key !== undefined && [
    button(String(key), () => copy(path, 'Path'), 'key', { label: `Copy the path ${path}` }),
    ': ',
  ];
  how.budget.rows -= 1;
  if (!isContainer(value) || !sizeOf(value)) {
    return h('div.leaf', name, leaf(node, how));
  }
  const opened = isOpen(node, how);
  const toggle = () => {
    how.state.open.set(path, !opened);
    how.changed();
  };
  const words = { 'aria-expanded': String(opened), label: `${path}: ${summary(value)}` };
  return h(
    'div',
    h(
      'div.branch',
      button(opened ? '▾' : '▸', toggle, 'fold', words),
      name,
      h('i', summary(value)),
    ),
    opened && inside(node, how),
  );
}

function summary(value) {
  const size = number(sizeOf(value));
  return Array.isArray(value) ? `[${size}]` : `{${size}}`;
}

function inside({ path, value, depth }, how) {
  const { state, changed, budget } = how;
  const all = childrenOf(value);
  const most = state.shown.get(path) ?? CHILDREN;
  const shown = all.slice(0, Math.max(1, Math.min(most, budget.rows)));
  const rows = shown.map(([key, each]) =>
    rowOf({ path: below(path, key), key, value: each, depth: depth + 1 }, how),
  );
  const left = all.length - shown.length;
  const more = () => {
    state.shown.set(path, most + CHILDREN * 4);
    changed();
  };
  const next = left > 0 && button(`${number(left)} more`, more, 'link', { key: `more ${path}` });
  return h(depth < DEEP ? 'div.inside' : 'div.inside.deep', rows, next);
}

function leaf({ path, value }, { state, changed }) {
  const text = isRaw(value) ? value.rawJSON : JSON.stringify(value);
  if (text.length <= STRING_MOST || state.shown.get(path)) {
    return h(`code.${kindOf(value)}`, isolated(text));
  }
  const all = () => {
    state.shown.set(path, 1);
    changed();
  };
  return [
    h('code.text', isolated(`${text.slice(0, STRING_MOST)}…`)),
    ' ',
    button(`All ${number(text.length)} characters`, all, 'link'),
  ];
}

function kindOf(value) {
  if (typeof value === 'string') {
    return 'text';
  }
  return typeof value === 'number' || isRaw(value) ? 'number' : 'word';
}
