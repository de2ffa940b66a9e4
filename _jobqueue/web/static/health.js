// What is wrong, each with a link to where it can be put right.
import { h, show } from './dom.js';
import { icon, query, status } from './parts.js';
import { capitalised, number, plural } from './words.js';

// Where to go, by the finding's code; a ? or & at the end: with its queue.
const PAGES = {
  no_worker: 'workers',
  worker_lost: 'workers',
  paused: 'queues',
  dead_letters: 'dead?',
  webhooks: 'jobs?status=failed&type=jobqueue.webhook&',
  no_handler: 'jobs?status=queued&',
  old_job: 'jobs?status=queued&',
};
const TELL_MS = 15000; // not more often than one can hear

// `failure` is why the API could not be asked, else ''.
export function drawHealth(stats, failure) {
  const findings = failure ? [unreachable(failure)] : (stats?.health ?? []);
  const more = findings.length - 1;
  show(
    document.getElementById('health'),
    findings.length > 0 && h('ul', findings.map(line)),
    more > 0 && h('a.more', { href: '#/' }, `${more} more`),
    stats && !findings.length && status('done', 'All clear'),
  );
}

function unreachable(failure) {
  return {
    id: 'unreachable',
    level: 'error',
    text: `${failure.replace(/\.$/, '')}. It is asked again until it answers.`,
  };
}

function line(finding) {
  const { level, id, text } = finding;
  return h(
    `li.${level}`,
    { key: id },
    icon(level),
    h('a', { href: pageOf(finding) }, h('span.unseen', `${level}: `), capitalised(text)),
  );
}

function pageOf({ code, queue }) {
  const page = PAGES[code] ?? 'system';
  const takesQueue = /[?&]$/.test(page);
  return `#/${page}${takesQueue && queue ? query({ queue }) : ''}`;
}

// --- for those who hear the page

let toldAt = 0;

export function tell(stats) {
  if (!stats || Date.now() - toldAt < TELL_MS) {
    return;
  }
  const counts = Object.entries(stats.jobs).map(([name, n]) => `${number(n)} ${name}, `);
  const problems = plural(stats.health.length, 'problem');
  show(document.getElementById('counts'), `${problems}; `, counts);
  toldAt = Date.now();
}
