// Parts that views are made of.
import { h, svg } from './dom.js';
import { may } from './key.js';
import { pieces } from './visible.js';

const RING = 'M8 2.5a5.5 5.5 0 1 0 .01 0z';
const SHAPES = {
  queued: RING,
  scheduled: `${RING}M8 5v3.2l2.2 1.3`,
  blocked: 'M5 7.5V5.2a3 3 0 0 1 6 0v2.3M3.8 7.5h8.4v5.8H3.8z',
  processing: 'M5 3.2l7 4.8-7 4.8z',
  done: 'M3 8.5l3.2 3.2L13 4.8',
  failed: 'M4 4l8 8M12 4l-8 8',
  cancelled: `${RING}M4.2 11.8l7.6-7.6`,
  error: 'M8 2.2l6.2 11.3H1.8zM8 6.5v3.2M8 11.4v.3',
  warning: `${RING}M8 5v3.5M8 10.6v.3`,
  paused: 'M5.5 4v8M10.5 4v8',
};
const SHORT_ID = 8;
// The scope that a button of a kind needs.
const NEEDS = { retry: 'admin', run: 'admin', cancel: 'admin', delete: 'admin', pause: 'admin' };

export function icon(name) {
  const path = svg('path', { d: SHAPES[name] });
  return svg(`svg.icon.${name}`, { viewBox: '0 0 16 16', 'aria-hidden': 'true' }, path);
}

export function status(name, text = name) {
  return h(`span.status.${name}`, icon(name), text);
}

// False for whom it is not there: `needs` is a scope; a kind that changes jobs says it by itself.
export function button(text, onclick, kind = 'plain', properties = {}) {
  const { needs = NEEDS[kind], ...others } = properties;
  return (
    (!needs || may(needs)) && h(`button.${kind}`, { type: 'button', onclick, ...others }, text)
  );
}

export const input = (properties) => h('input', { autocomplete: 'off', ...properties });

// Text, perhaps JSON, whose strings do not change places where they are read from the right.
export function isolated(text) {
  return pieces(text).map(([piece, turns]) => (turns ? h('bdi', { dir: 'ltr' }, piece) : piece));
}

export function pre(label, text) {
  return h('pre', { tabindex: 0, role: 'region', label }, isolated(text));
}

export const bar = (value, max, label) => h('progress', { value, max, label });

// A name, with places to break it: before a capital, after a dot, an underscore or a dash.
export function breakable(name) {
  const parts = name.split(/(?<=[._-])|(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])/);
  return parts.flatMap((part, at) => (at ? [h('wbr'), part] : [part]));
}

// --- links

export function query(params) {
  return new URLSearchParams(Object.entries(params).filter(([, value]) => value));
}

export const link = (view, params) => `#/${view}?${query(params)}`;
export const short = (id) => id.slice(0, SHORT_ID);

export function jobLink(id, type) {
  const code = h('code.id', { title: id }, short(id));
  return h('a', { href: `#/jobs/${id}` }, type && h('strong', type), code);
}

// Inputs of a list's filters, each named after what it filters by; chosen(changes) is called with a new value.
export function filters(names, chosen) {
  const inputs = names.map((name) => {
    const onchange = (event) => chosen({ [name]: event.target.value.trim() });
    return input({ name, list: `known-${name}`, onchange });
  });
  const labels = inputs.map((each) => h('label', each.name, each));
  return [inputs, h('div.filters', { key: 'filters' }, labels)];
}

// --- panels and tables

export function panel(key, title, ...inside) {
  const parts = [title].flat().map((part, at) => (at ? part : h('h2', part)));
  return h('section.panel', { key }, title && h('header', parts), inside);
}

export function facts(rows, kind = 'facts') {
  const row = ([name, value]) => h('div', h('dt', name), h('dd', value));
  return h(`dl.${kind}`, rows.filter(Boolean).map(row));
}

export const empty = (title, ...more) => h('section.empty', { key: title }, h('h2', title), more);
export const loading = () => h('p.empty', 'Loading…');

const ACTION = '#Action'; // the last column, where there is one

// A row is its key and its cells; # marks a column of numbers. `sorting`: names of the first columns,
// the one that is `sorted` by (with - before it: the other way), and sortBy(name).
export function table(label, heads, rows, kind = 'cards', sorting = { names: [] }) {
  if (heads.at(-1) === ACTION && !may('admin')) {
    const most = heads.length - 1;
    const without = rows.map((row) => row.slice(0, most + 1)); // the key comes first
    return table(label, heads.slice(0, most), without, kind, sorting);
  }
  const names = heads.map((head) => head.replace('#', ''));
  const kindOf = (at) => (heads[at] === names[at] ? '' : '.n');
  const head = (name, at) =>
    h(
      `th${kindOf(at)}`,
      { scope: 'col', 'aria-sort': turnOf(sorting, at) },
      at < sorting.names.length
        ? button(name, () => sorting.sortBy(sorting.names[at]), 'head')
        : name,
    );
  const cell = (content, at) =>
    at
      ? h(`td${kindOf(at)}`, { 'data-label': names[at] }, h('div', content))
      : h(`td${kindOf(at)}`, content);
  const row = ([key, ...cells]) => h('tr', { key }, cells.map(cell));
  return h(
    `table.${kind}`,
    { label },
    h('thead', h('tr', names.map(head))),
    h('tbody', rows.map(row)),
  );
}

function turnOf({ names, sorted }, at) {
  if (!names[at] || sorted.replace('-', '') !== names[at]) {
    return null;
  }
  return sorted === names[at] ? 'descending' : 'ascending';
}
