// The search field: what is typed becomes a job, filters of the list of jobs, or a search; names are completed.
import { h, show } from './dom.js';
import { link, query } from './parts.js';
import { STATUSES } from './statuses.js';

const WHAT = {
  status: 'queued, failed, …',
  type: 'which handler runs it',
  queue: 'where it waits',
  tag: 'what it was given',
  kind: 'of error, of a dead letter',
};
const FILTER = /^(status|type|queue|tag|kind):(.*)$/;
const ID = /^[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$/i;
const MOST = 8; // names that are proposed

// What a text asks for: filters by their names, and words.
export function read(text) {
  const filters = {};
  const words = [];
  for (const word of text.trim().split(/\s+/).filter(Boolean)) {
    const [, name, value] = FILTER.exec(word) ?? [];
    if (value) {
      filters[name] = value;
    } else {
      words.push(word);
    }
  }
  return { filters, words: words.join(' ') };
}

// Where that is. Filters are added to those of the list that is shown.
export function placeOf(text) {
  const { filters, words } = read(text);
  if (ID.test(words)) {
    return `#/jobs/${words.toLowerCase()}`;
  }
  if (words) {
    return `#/search?${query({ q: words, ...filters })}`;
  }
  const [view, shown] = location.hash.split('?');
  const params = view === '#/jobs' ? Object.fromEntries(new URLSearchParams(shown)) : {};
  return link('jobs', { ...params, cursor: '', from: '', ...filters });
}

// `app.stats` knows the names.
export function finder(field, app) {
  const list = h('ul', { id: 'found', role: 'listbox', label: 'Completions' });
  let at = -1; // which is chosen
  let offered = [];

  function go(hash) {
    close();
    field.value = '';
    field.blur();
    app.go(hash);
  }

  function take({ text, isWhole }) {
    const before = field.value.replace(/\S*$/, '');
    field.value = before + text;
    if (isWhole) {
      go(placeOf(field.value));
    } else {
      offer();
    }
  }

  function offer() {
    at = -1;
    offered = completions(field.value.split(/\s+/).at(-1), app.stats);
    draw();
  }

  function draw() {
    const item = (each, n) =>
      h(
        'li',
        {
          id: `found-${n}`,
          key: each.text,
          role: 'option',
          'aria-selected': String(n === at),
          onpointerdown: (event) => {
            event.preventDefault(); // the field keeps the focus
            take(each);
          },
        },
        h('b', each.text),
        h('small', each.what),
      );
    show(list, offered.map(item));
    list.hidden = !offered.length;
    field.setAttribute('aria-expanded', String(!list.hidden));
    field.setAttribute('aria-activedescendant', at < 0 ? '' : `found-${at}`);
  }

  function close() {
    offered = [];
    at = -1;
    draw();
  }

  function move(step) {
    at = (at + step + offered.length + (at < 0 && step < 0 ? 1 : 0)) % offered.length;
    draw();
  }

  const does = {
    ArrowDown: () => move(1),
    ArrowUp: () => move(-1),
    Tab: () => take(offered[Math.max(0, at)]),
  };

  function onkeydown(event) {
    const isChosen = at >= 0 || (event.key === 'Tab' && field.value.trim());
    if (!offered.length || !Object.hasOwn(does, event.key) || (event.key === 'Tab' && !isChosen)) {
      return;
    }
    event.preventDefault();
    does[event.key]();
  }

  field.after(list);
  Object.assign(field, { oninput: offer, onkeydown, onblur: close });
  for (const [name, value] of Object.entries({
    role: 'combobox',
    'aria-autocomplete': 'list',
    'aria-controls': 'found',
  })) {
    field.setAttribute(name, value);
  }
  return {
    offer,
    submit() {
      if (at >= 0) {
        take(offered[at]);
      } else if (field.value.trim()) {
        go(placeOf(field.value));
      }
    },
  };
}

// What a word may become.
function completions(word, stats) {
  const known = namesOf(stats);
  const [, name, value] = FILTER.exec(word) ?? [];
  if (name) {
    return (known[name] ?? [])
      .filter((each) => each !== value && each.includes(value))
      .map((each) => filter(name, each))
      .slice(0, MOST);
  }
  const begun = Object.keys(WHAT).filter((each) => each.startsWith(word.replace(/:$/, '')));
  const heads = begun.map((each) => ({ text: `${each}:`, what: WHAT[each], isWhole: false }));
  const whole = word
    ? Object.keys(known).flatMap((each) =>
        known[each].filter((one) => one.includes(word)).map((one) => filter(each, one)),
      )
    : [];
  return [...whole, ...heads].slice(0, MOST);
}

const filter = (name, value) => ({ text: `${name}:${value}`, what: '', isWhole: true });

function namesOf(stats) {
  const { types = [], workers = [], queues = [] } = stats ?? {};
  const names = [...types.map((each) => each.type), ...workers.flatMap((each) => each.types ?? [])];
  return {
    status: STATUSES,
    type: [...new Set(names)].sort(),
    queue: queues.map((each) => each.queue),
  };
}
