// The same for many jobs at once: counted first, confirmed, done in steps that can be stopped.
import { call } from './api.js';
import { agree, dialog } from './dialogs.js';
import { h } from './dom.js';
import { button, link } from './parts.js';
import { capitalised, number, plural } from './words.js';

const WORDS = {
  retry: { verb: 'Retry', order: (jobs) => `Retry ${jobs}`, done: 'retried' },
  run: { verb: 'Run now', order: (jobs) => `Run ${jobs} now`, done: 'made due' },
  cancel: { verb: 'Cancel', order: (jobs) => `Cancel ${jobs}`, done: 'cancelled' },
  delete: { verb: 'Delete', order: (jobs) => `Delete ${jobs}`, done: 'deleted' },
};
const WATCHED = ['retry', 'run']; // what is to come of them is worth a look
const STEP_JOBS = 1000;
const QUICK_MS = 300; // what is through sooner needs no dialog

export const verb = (action) => WORDS[action].verb;

// Counts, asks, acts; `target` is {ids} or {filter}, and `what` names it. Says what became of it, and
// where the jobs can be watched: null when nothing was done.
export async function bulk(action, target, what) {
  const found = await count(action, target, what);
  if (found.stopped) {
    return null;
  }
  if (!found.changed) {
    return { said: `Nothing to ${action}${found.left}` };
  }
  if (!(await isWanted(action, target, what, found))) {
    return null;
  }
  const title = `${verb(action)}: ${what}`;
  const operation = WATCHED.includes(action) ? newName(action) : '';
  const done = await inSteps(action, target, { operation, title, max: found.changed });
  const stopped = done.stopped ? ', then stopped' : '';
  const said = `${number(done.changed)} ${WORDS[action].done}${done.left}${stopped}`;
  return { said, watch: operation && done.changed ? link('jobs', { operation }) : '' };
}

// Of an action, under which lists find what it has changed.
function newName(action) {
  const [chance] = crypto.getRandomValues(new Uint32Array(1));
  return `${action}-${Date.now().toString(36)}-${chance.toString(36)}`;
}

// For whoever has just done it, also after the view has changed.
export const outcome = ({ said, watch }) => [
  said,
  watch && [': ', h('a', { href: watch }, 'watch them')],
];

function count(action, target, what) {
  if (target.ids) {
    return { changed: target.ids.length, left: '' };
  }
  return inSteps(action, target, { dry_run: true, title: `Counting ${what}` });
}

function isWanted(action, target, what, { changed, left }) {
  const deletes = action === 'delete';
  const destroys = deletes || action === 'cancel';
  if (!destroys && target.ids) {
    return true;
  }
  const order = WORDS[action].order(plural(changed, 'job'));
  return agree({
    title: `${order}?`,
    text: `${capitalised(what)}${left}.${deletes ? ' This cannot be undone.' : ''}`,
    ok: order,
    danger: destroys,
    word: deletes || (destroys && !target.ids) ? number(changed) : '',
  });
}

// Repeats the call until it is through, under a dialog that can stop it.
async function inSteps(action, { ids, filter }, { dry_run, operation, title, max }) {
  const progress = progressOf(title, max);
  const skipped = {};
  let changed = 0;
  let cursor;
  let through = false;
  try {
    while (!progress.stopped && !through) {
      const part = ids ? { ids: ids.splice(0, STEP_JOBS) } : { filter, ...(cursor && { cursor }) };
      const named = operation ? { operation } : {};
      const answer = await call('POST', '/jobs/bulk', { action, ...part, ...named, dry_run });
      changed += answer.changed;
      for (const [why, n] of Object.entries(answer.skipped)) {
        skipped[why] = (skipped[why] ?? 0) + n;
      }
      progress.at(changed);
      cursor = answer.next_cursor;
      through = ids ? !ids.length : !cursor;
    }
  } finally {
    progress.end();
  }
  return { changed, stopped: progress.stopped, left: leftOf(skipped) };
}

// A dialog that comes when it takes long. `stopped` is true once somebody has closed it.
export function progressOf(title, max) {
  const counted = h('strong', '0');
  const meter = h('progress', { max, label: title });
  let box = null;
  let ended = false;
  const later = setTimeout(() => {
    box = dialog(
      title,
      h('p', { role: 'status' }, counted, ' jobs'),
      meter,
      h(
        'p.actions',
        button('Stop', () => box.close()),
      ),
    );
    box.addEventListener('close', () => {
      progress.stopped = !ended;
    });
  }, QUICK_MS);
  const progress = {
    stopped: false,
    at(changed) {
      counted.textContent = number(changed);
      if (max) {
        meter.value = changed;
      }
    },
    end() {
      ended = true;
      clearTimeout(later);
      box?.close();
    },
  };
  return progress;
}

function leftOf(skipped) {
  return Object.entries(skipped)
    .map(([why, n]) => `; ${number(n)} left alone (${why.replace('_', ' ')})`)
    .join('');
}
