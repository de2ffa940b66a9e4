// The log of a job: a time beside each line, its end in sight while the job runs, and what is not kept.
import { copy } from './dialogs.js';
import { h } from './dom.js';
import { button, isolated, panel } from './parts.js';
import { plural } from './words.js';

const NEAR = 8; // pixels from its end
const TIME = {
  hour: '2-digit',
  minute: '2-digit',
  second: '2-digit',
  fractionalSecondDigits: 3,
  hourCycle: 'h23',
};

const boxOf = () => document.querySelector('main .log');

function time(at) {
  if (!at) {
    return h('span');
  }
  const title = new Date(at).toLocaleString([], { timeZoneName: 'short' });
  return h('span.at', { title }, new Date(at).toLocaleTimeString([], TIME));
}

// Its state: whether its end is followed.
export function logPanel(job, state) {
  const box = boxOf();
  state.follows = !box || box.scrollTop + box.clientHeight >= box.scrollHeight - NEAR;
  const times = job.log_times ?? [];
  const line = (text, at) => h('div', time(times[at]), h('span', isolated(text)));
  const copies = button('Copy', () => copy(job.log.join('\n'), 'Log'), 'quiet', {
    label: 'Copy Log',
  });
  return panel(
    'log',
    ['Log', h('p', h('small', dropped(job)), ' ', copies)],
    h('div.log', { tabindex: 0, role: 'region', label: 'Log', key: 'lines' }, job.log.map(line)),
  );
}

function dropped({ log_dropped, log_times, started_at, attempts }) {
  const isOfLast = attempts > 1 && log_times?.[0] >= started_at;
  const words = [
    log_dropped > 0 && `${plural(log_dropped, 'earlier line')} not kept`,
    isOfLast && `of attempt ${attempts} alone`,
  ];
  return words.filter(Boolean).join('; ');
}

// To be called when it has been drawn.
export function follow(job, state) {
  const box = boxOf();
  if (box && state.follows && job.status === 'processing') {
    box.scrollTop = box.scrollHeight;
  }
}
