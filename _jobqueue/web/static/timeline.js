// A job's life as a bar: how long it waited, ran, waited, ran, with each length in words.
import { h, svg } from './dom.js';
import { panel } from './parts.js';
import { clock, plural, span } from './words.js';

const LEAST = 0.008; // of the bar's width, for the shortest part
const LISTED_MOST = 12; // parts; of more, those of a kind are added up
const HEIGHT = 18;
const TITLES = {
  delayed: 'put off',
  blocked: 'waited for other jobs',
  waited: 'waited',
  ran: 'ran',
  broke: 'ran, failed',
  running: 'running for',
  backoff: 'waited to be retried',
  snoozed: 'snoozed',
  dead: 'failed, until it was retried',
};

const ms = (at) => (at ? Date.parse(at) : null);

// Attempts that have begun, the first one first: {from, to, kind}.
function runsOf(job, now) {
  const runs = job.errors
    .filter((error) => error.started_at)
    .map((error) => ({ from: ms(error.started_at), to: ms(error.at), kind: 'broke' }));
  const from = ms(job.started_at);
  if (job.status === 'processing') {
    runs.push({ from, to: now, kind: 'running' });
  } else if (job.status === 'done') {
    runs.push({ from, to: ms(job.finished_at), kind: 'ran' });
  }
  return runs;
}

// The times within a wait at which something is known to have happened, and what went before each.
function cuts(job, isFirst) {
  const retried = (job.actions ?? [])
    .filter(({ action }) => action === 'retry')
    .map(({ at }) => [ms(at), 'dead']);
  const beforeDue = isFirst ? delay(job) : 'backoff';
  const due = [ms(job.run_at), job.snoozes ? 'snoozed' : beforeDue];
  const snoozed = [ms(job.snoozed_at), 'waited'];
  return [...retried, snoozed, due].filter(([at]) => at).sort(([one], [other]) => one - other);
}

const delay = (job) => (job.after ? 'blocked' : 'delayed');

// A wait in its parts. Most waits have one.
function waits(job, from, to, { isFirst, isLast }) {
  const parts = [];
  let at = from;
  // Between two attempts the time until the later one was due is known of the last pair alone.
  let rest = isFirst ? 'waited' : 'backoff';
  for (const [when, kind] of cuts(job, isFirst)) {
    if (when > at && when <= to) {
      parts.push({ from: at, to: when, kind });
      at = when;
      rest = 'waited';
    }
  }
  if (to > at) {
    parts.push({ from: at, to, kind: isLast ? lastKind(job, isFirst) : rest });
  }
  return parts;
}

function lastKind(job, isFirst) {
  if (job.status === 'blocked') {
    return 'blocked';
  }
  if (job.status !== 'scheduled') {
    return 'waited';
  }
  if (job.snoozes) {
    return 'snoozed';
  }
  return isFirst ? delay(job) : 'backoff';
}

// The parts of a job's life so far: {from, to, kind}, in ms.
export function partsOf(job, now = Date.now() - clock.aheadMs) {
  const parts = [];
  const runs = runsOf(job, now);
  let at = ms(job.created_at);
  for (const [number, run] of runs.entries()) {
    parts.push(...waits(job, at, run.from, { isFirst: !number, isLast: false }), run);
    at = run.to;
  }
  const hasEnded = ['done', 'failed'].includes(job.status);
  if (!hasEnded && job.status !== 'processing') {
    const end = ms(job.finished_at) ?? now;
    parts.push(...waits(job, at, end, { isFirst: !runs.length, isLast: true }));
  }
  return parts;
}

const length = ({ from, to }) => Math.max(0, to - from);

// What the parts are, in words; those of a kind together, where there are many.
function wordsOf(parts) {
  if (parts.length <= LISTED_MOST) {
    return parts.map((part) => [part.kind, `${TITLES[part.kind]} ${span(length(part))}`]);
  }
  const kinds = [...new Set(parts.map(({ kind }) => kind))];
  return kinds.map((kind) => {
    const those = parts.filter((part) => part.kind === kind);
    const sum = those.reduce((all, part) => all + length(part), 0);
    return [kind, `${TITLES[kind]} ${span(sum)}, ${plural(those.length, 'time')}`];
  });
}

export function timeline(job) {
  const parts = partsOf(job);
  if (!parts.length) {
    return null;
  }
  const words = wordsOf(parts);
  const all = parts.reduce((sum, part) => sum + length(part), 0);
  const text = words.map(([, each]) => each).join(', ');
  return panel(
    'timeline',
    '',
    svg(
      'svg.timeline',
      { width: '100%', height: HEIGHT, role: 'img', label: `Time: ${text}` },
      bars(parts, all),
    ),
    h(
      'ul.legend',
      words.map(([kind, each]) => h(`li.${kind}`, h('i'), each)),
      parts.length > 1 && h('li.all', `${span(all)} in all`),
    ),
  );
}

function bars(parts, all) {
  const shares = parts.map((part) => Math.max(LEAST, all ? length(part) / all : 1));
  const whole = shares.reduce((sum, share) => sum + share, 0);
  const percent = (share) => `${((100 * share) / whole).toFixed(3)}%`;
  let at = 0;
  return parts.map((part, number) => {
    const x = percent(at);
    at += shares[number];
    const title = svg('title', `${TITLES[part.kind]} ${span(length(part))}`);
    return svg(`rect.${part.kind}`, { x, width: percent(shares[number]), height: HEIGHT }, title);
  });
}
