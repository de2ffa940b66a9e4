// The keyboard: views, rows, and what can be done with them.
import { dialog } from './dialogs.js';
import { h } from './dom.js';
import { button, facts } from './parts.js';
import { may } from './key.js';

const HELP = {
  '/': 'find a job, or a type',
  'j k': 'next and previous row',
  Enter: 'open the row',
  'n p': 'next and previous page; in a row that can be paused, p pauses it or lets it go on',
  '.': 'refresh now',
  x: 'select; with Shift all since the last one',
  'r c Delete': 'retry, cancel, delete what is selected or shown, or all of a kind',
  Esc: 'close, clear the selection, or go back',
};
const LETTERS = { schedules: 't', flows: 'f', webhooks: 'b' }; // of views, where it is not the first of the title
const SECOND_KEY_MS = 1500; // between g and the letter of a view

const focusedRow = () => document.activeElement.closest('tr[data-key]');
const linkOf = (row) =>
  row?.querySelector(':is(td:first-child, .what) > a') ?? row?.querySelector('a');

// The row's own link, or whatever else of it can hold the focus.
const focusable = (row) => linkOf(row) ?? row?.querySelector('button, input');
const allRows = () => [...document.querySelectorAll('#main tr[data-key]')];

function moveBy(step) {
  const rows = allRows().filter(focusable);
  const at = rows.indexOf(focusedRow());
  focusable(rows[at < 0 ? 0 : at + step])?.focus();
}

const isCovered = () => document.querySelector('dialog[open]') !== null;

// Also in a dialog that has just been closed.
const isNowhere = () =>
  document.activeElement.matches('body, dialog:not([open]), dialog:not([open]) *');

// The row that has the focus, or will have it when the dialog in front has gone; undefined: it was the last one.
let held = focusedRow();

document.addEventListener('focusin', ({ target }) => {
  if (!target.closest('dialog')) {
    held = target.closest('tr[data-key]');
  }
});

// A dialog gives the focus back to what had it, unless that has left meanwhile.
document.addEventListener(
  'close',
  () => {
    if (held !== null && !isCovered() && isNowhere()) {
      focusOn(held);
    }
  },
  true,
);

function focusOn(row) {
  (focusable(row) ?? document.getElementById('title')).focus({ preventScroll: true });
}

// Draws; when the row that has the focus is not there any more, the next one gets it.
export function keepingPlace(draw) {
  const before = held ? allRows() : [];
  const at = before.indexOf(held);
  draw();
  if (at < 0 || held.isConnected) {
    return;
  }
  const rows = allRows();
  const near = [...before.slice(at + 1), ...before.slice(0, at).reverse()];
  held = near.find((each) => each.isConnected) ?? rows[Math.min(at, rows.length - 1)];
  if (!isCovered()) {
    focusOn(held);
  }
}

function pickRow({ shiftKey }) {
  const box = focusedRow()?.querySelector('input');
  box?.dispatchEvent(new MouseEvent('click', { shiftKey, cancelable: true }));
}

// --- pages

const earlier = []; // where one was before each "next page"

const pageLink = (rel) => document.querySelector(`#main a[rel=${rel}]`);
const viewOf = (hash) => hash.split('?')[0];

document.addEventListener('click', ({ target }) => {
  if (target.closest?.('#main a[rel=next]')) {
    earlier.push(location.hash);
  }
});

// The page before this one, where one came from it; else the first.
function previousPage() {
  const first = pageLink('prev');
  if (!first) {
    return;
  }
  const last = earlier.pop();
  if (last && viewOf(last) === viewOf(location.hash)) {
    location.hash = last;
  } else {
    first.click();
  }
}

function pauseOrPageBack() {
  const pause = focusedRow()?.querySelector('button.pause');
  if (pause) {
    pause.click();
  } else {
    previousPage();
  }
}

// --- all keys

// `titles` are those of the views by their names. `act` gets an action and the id of the row;
// `leave` steps back out of what is selected or shown; `refresh` asks the API now.
export function listenToKeys({ titles, search, go, act, leave, refresh }) {
  let wentAt = 0; // when g was pressed
  const letterOf = (name) => LETTERS[name] ?? titles[name][0].toLowerCase();

  // With the row's own button, where it has one.
  function actOnRow(action) {
    const own = focusedRow()?.querySelector(`button.${action}`);
    if (own) {
      own.click();
    } else if (may('admin')) {
      act(action, focusedRow()?.dataset.key);
    }
  }

  function help() {
    const views = Object.entries(titles).map(([name, title]) => [`g ${letterOf(name)}`, title]);
    const line = ([keys, what]) => [keys.split(' ').map((key) => h('kbd', key)), what];
    const all = [...Object.entries(HELP), ...views];
    const close = button('Close', () => box.close(), 'primary');
    const box = dialog('Keys', facts(all.map(line), 'list'), h('p.actions', close));
  }

  const does = {
    '/': () => search.focus(),
    '?': help,
    '.': refresh,
    j: () => moveBy(1),
    k: () => moveBy(-1),
    n: () => pageLink('next')?.click(),
    p: pauseOrPageBack,
    g: () => {
      wentAt = Date.now();
    },
    r: () => actOnRow('retry'),
    c: () => actOnRow('cancel'),
    Delete: () => actOnRow('delete'),
    x: pickRow,
  };

  function escape(target, isTyping) {
    if (isTyping) {
      target.blur();
    } else {
      leave();
    }
  }

  function viewFor(key) {
    const isSecond = Date.now() - wentAt < SECOND_KEY_MS;
    return isSecond ? Object.keys(titles).find((name) => letterOf(name) === key) : undefined;
  }

  function onkeydown(event) {
    const isTyping = event.target.matches('input:not([type=checkbox]), textarea, select');
    const isModified = event.ctrlKey || event.metaKey || event.altKey;
    if (isModified || document.querySelector('dialog')) {
      return;
    }
    if (event.key === 'Escape') {
      escape(event.target, isTyping);
    }
    const key = event.key.length > 1 ? event.key : event.key.toLowerCase();
    const view = viewFor(key);
    if (isTyping || (view === undefined && !Object.hasOwn(does, key))) {
      return;
    }
    event.preventDefault();
    wentAt = 0;
    if (view === undefined) {
      does[key](event);
    } else {
      go(`#/${view}`);
    }
  }

  document.addEventListener('keydown', onkeydown);
  document.getElementById('keys').onclick = help;
}
