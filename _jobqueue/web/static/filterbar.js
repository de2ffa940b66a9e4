// What a list is narrowed down by: a chip for each filter, which can be taken away, and from when to when.
import { h } from './dom.js';
import { button, input } from './parts.js';
import { readTime, timesSwitch, zone } from './times.js';
import { clockTime } from './words.js';

const CHIPS = ['type', 'queue', 'tag', 'kind', 'error', 'operation'];
const SHOWN = 40; // characters of a value

// `to(changes)` is where a list with other filters is; `save` writes what is listed into a file.
export function filterBar(app, to, save) {
  const times = ['since', 'until'].map((name) => {
    const field = input({ name, size: 10, placeholder: '14:05, 2 h', title: titleOf(name) });
    field.onchange = () => {
      const text = field.value.trim();
      const at = text && readTime(text);
      field.setAttribute('aria-invalid', at === null);
      if (at !== null) {
        app.go(to({ [name]: at }));
      }
    };
    return field;
  });

  const chip = (name, value) => {
    const shown = value.length > SHOWN ? `${value.slice(0, SHOWN)}…` : value;
    const label = `Without ${name}: ${value}`;
    return h('a.tag', { key: name, href: to({ [name]: '' }), label, title: value }, [
      h('small', `${name}: `),
      shown,
      ' ×',
    ]);
  };

  return {
    open(params) {
      for (const field of times) {
        field.value = params[field.name] ? shownTime(params[field.name]) : '';
        field.removeAttribute('aria-invalid');
      }
    },
    draw(params) {
      const add = () => document.getElementById('search').focus();
      return h(
        'div.filters',
        { key: 'filters' },
        CHIPS.filter((name) => params[name]).map((name) => chip(name, params[name])),
        button('Add a filter', add, 'quiet', { key: 'add' }),
        times.map((field) => h('label', { key: field.name }, field.name, field)),
        h(
          'span.actions',
          { key: 'actions' },
          timesSwitch(() => app.draw()),
          saving(save),
        ),
      );
    },
  };
}

const saving = (save) =>
  button('Export', save, 'quiet', {
    key: 'save',
    title: 'What is listed, as NDJSON: a job a line',
  });

const titleOf = (name) =>
  `${name === 'since' ? 'From then on' : 'Before then'}, by ${zone()}: 14:05, 2026-11-26 14:05, or 2 h ago as 2 h`;

function shownTime(text) {
  const at = new Date(text);
  return Number.isNaN(at.getTime()) ? text : clockTime(at);
}
