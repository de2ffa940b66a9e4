// What happened to a job, step by step: attempts with their tracebacks, and what operators did.
import { copy } from './dialogs.js';
import { h } from './dom.js';
import { button, status } from './parts.js';
import { reason } from './statuses.js';
import { trace } from './trace.js';
import { visible } from './visible.js';
import { between, number, when } from './words.js';

// Kinds of errors of jobs that did not start.
const NO_ATTEMPT = { expired: 'Not started in time', parent_gone: 'Waited in vain' };
const ACTIONS = {
  cancel: ['cancelled', 'Asked to cancel'],
  stop: ['cancelled', 'Stopped'],
  retry: ['queued', 'Retried'],
  run: ['queued', 'Run'],
};

// `by` says in links which worker it was; `folds` is a Map of what is open, `changed` draws anew.
export function steps(job, { by, folds, changed }) {
  let before = job.created_at;
  const waited = (from) => from >= before && `waited ${between(before, from)} · `;
  const failures = job.errors.map((error) => {
    if (NO_ATTEMPT[error.kind]) {
      before = error.at;
      const title = NO_ATTEMPT[error.kind];
      return { at: error.at, step: step('cancelled', title, error.at, h('em', reason(error))) };
    }
    const ran = [waited(error.started_at), 'ran ', between(error.started_at, error.at)];
    before = error.at;
    const more = [
      ran,
      by(error.worker),
      h('em', reason(error)),
      traceOf(error, job, folds, changed),
    ];
    return { at: error.at, step: step(...endOf(error), error.at, more) };
  });
  if (job.snoozes) {
    failures.push({ at: job.snoozed_at, step: snoozeStep(job, by) });
  }
  if ((job.attempts < 2 || job.snoozes) && job.run_at > before) {
    before = job.run_at; // when it was due, or retried by hand
  }
  const happened = [...failures, ...(job.actions ?? []).map(action)];
  happened.sort((one, other) => (one.at < other.at ? -1 : Number(one.at > other.at)));
  return [
    step('queued', 'Submitted', job.created_at),
    happened.map((each) => each.step),
    lastStep(job, before, waited, by),
  ];
}

function endOf({ kind, attempt }) {
  return kind === 'cancelled'
    ? ['cancelled', `Attempt ${attempt} stopped`]
    : ['failed', `Attempt ${attempt} failed`];
}

// That of the last error is open, while it is what matters.
function traceOf(error, job, folds, changed) {
  if (!error.traceback) {
    return null;
  }
  const isLast = error === job.errors.at(-1) && job.status !== 'done';
  const opened = folds.get(error.at) ?? isLast;
  function toggle() {
    folds.set(error.at, !opened);
    changed();
  }
  const label = `Traceback of attempt ${error.attempt}`;
  const copies = () => copy(error.traceback, 'Traceback');
  return [
    button(opened ? 'Hide the traceback' : 'Traceback', toggle, 'link', {
      'aria-expanded': String(opened),
      label,
    }),
    opened && ' · ',
    opened && button('Copy it', copies, 'link', { label: `Copy: ${label}` }),
    opened && trace(`${label}, ${error.at}`, error.traceback), // attempts are counted anew by a retry
  ];
}

function action({ at, action: does, by, payload }) {
  const [name, title] = ACTIONS[does] ?? ['queued', does];
  const who = by ? `by ${visible(by)}` : 'by hand';
  return { at, step: step(name, `${title} ${who}`, at, payload && 'with another payload') };
}

function snoozeStep({ snoozes, snoozed_at, worker }, by) {
  const times = snoozes === 1 ? 'Snoozed' : `Snoozed ${number(snoozes)} times, last`;
  return step('scheduled', times, snoozed_at, by(worker));
}

function lastStep(job, before, waited, by) {
  const { status: now, started_at, finished_at, attempts } = job;
  switch (now) {
    case 'processing':
      return step(now, `Attempt ${attempts} is running`, started_at, [
        [waited(started_at), 'ran ', when(started_at, 'since')],
        by(job.worker),
      ]);
    case 'done':
      return step(now, `Attempt ${attempts} done`, finished_at, [
        [waited(started_at), 'ran ', between(started_at, finished_at)],
        by(job.worker),
      ]);
    case 'cancelled':
      return step(now, 'Cancelled', finished_at);
    case 'scheduled':
      return step(now, job.errors.length ? 'Next attempt' : 'Due', job.run_at);
    case 'queued':
      return step('scheduled', 'Waiting', null, [when(before, 'since')]);
    case 'blocked':
      return step('blocked', 'Waiting for others', null, [when(before, 'since')]);
    default:
      return null;
  }
}

function step(name, title, at, more = []) {
  return h('li', status(name, h('b', title)), at && when(at), h('div', more));
}
