// The keyboard: views, rows, and what can be done with them.
import { dialog } from './dialogs.js';
import { h } from './dom.js';
import { button, facts } from './parts.js';

const HELP = {
  '/': 'find a job, or a type',
  'j k': 'next and previous row',
  Enter: 'open the row',
  x: 'select; with Shift all since the last one',
  'r c Delete': 'retry, cancel, delete what is selected or shown',
  Esc: 'close, clear the selection, or go back',
};
const LETTERS = { schedules: 't', flows: 'f', webhooks: 'b' }; // of views, where it is not the first of the title
const SECOND_KEY_MS = 1500; // between g and the letter of a view

const focusedRow = () => document.activeElement.closest('tr[data-key]');

function moveBy(step) {
  const main = document.getElementById('main');
  const links = [...main.querySelectorAll('tr[data-key] > :is(td:first-child, .what) > a')];
  const at = links.findIndex((each) => focusedRow()?.contains(each));
  links[at < 0 ? 0 : at + step]?.focus();
}

function pickRow({ shiftKey }) {
  const box = focusedRow()?.querySelector('input');
  box?.dispatchEvent(new MouseEvent('click', { shiftKey, cancelable: true }));
}

// `titles` are those of the views by their names. `act` gets an action and the id of the row;
// `leave` steps back out of what is selected or shown.
export function listenToKeys({ titles, search, go, act, leave }) {
  let wentAt = 0; // when g was pressed
  const letterOf = (name) => LETTERS[name] ?? titles[name][0].toLowerCase();
  const actOnRow = (action) => act(action, focusedRow()?.dataset.key);

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
    j: () => moveBy(1),
    k: () => moveBy(-1),
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
