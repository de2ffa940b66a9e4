// Words for numbers and times.
import { h, isMissing, show } from './dom.js';

const SECOND_MS = 1000;
const DAY_S = 86400;
const HOUR_S = 3600;
const MINUTE_S = 60;

const whole = new Intl.NumberFormat('en');

export function number(n) {
  if (isMissing(n)) {
    return '–';
  }
  return whole.format(n < 10 ? Math.round(n * 10) / 10 : Math.round(n));
}

const short = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 });

// In few letters: 100k, 1.8M.
export const compact = (n) => short.format(n).replace('K', 'k');

export const plural = (n, one) => `${number(n)} ${one}${n === 1 ? '' : 's'}`;

export const capitalised = (text) => text[0].toUpperCase() + text.slice(1);

// Where jobs are: "in the queue mail", "in the queues mail and shop", "in all queues".
export function inQueues(names) {
  if (!names.length) {
    return 'in all queues';
  }
  const [last, ...others] = [...names].reverse();
  return others.length
    ? `in the queues ${others.reverse().join(', ')} and ${last}`
    : `in the queue ${last}`;
}

// A length of time, in the two largest units that it has.
export function span(ms) {
  if (isMissing(ms)) {
    return '–';
  }
  const seconds = ms / SECOND_MS;
  if (seconds < 1) {
    return `${number(ms)} ms`;
  }
  if (seconds < 10) {
    return `${number(seconds)} s`;
  }
  const parts = [
    [Math.floor(seconds / DAY_S), 'd'],
    [Math.floor((seconds / HOUR_S) % 24), 'h'],
    [Math.floor((seconds / MINUTE_S) % 60), 'min'],
    [Math.floor(seconds % 60), 's'],
  ];
  const first = parts.findIndex(([count]) => count);
  const largest = parts.slice(first, first + 2).filter(([count]) => count);
  return largest.flat().join(' ');
}

const wholeSeconds = (ms) => (ms < SECOND_MS ? '0 s' : span(ms - (ms % SECOND_MS)));

export const age = (since) => wholeSeconds(Date.now() - since);

export const between = (from, to) => span(Math.max(0, Date.parse(to) - Date.parse(from)));

// Times are Redis's; this machine's clock may be ahead.
export const clock = {
  aheadMs: 0,
  learn(at) {
    clock.aheadMs = Date.now() - Date.parse(at);
  },
};

const fullFormat = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'long' });

// In this browser's zone, which it names.
export const fullTime = (at) => fullFormat.format(new Date(at));

// A time that ticks: "3 s ago", "in 5 min", or how long since.
export function when(at, how = 'ago') {
  if (!at) {
    return '–';
  }
  const title = fullTime(at);
  return h('time', { datetime: at, 'data-how': how, title }, told(at, how));
}

export function told(at, how) {
  if (how === 'clock') {
    return clockTime(at);
  }
  const passedMs = Date.now() - clock.aheadMs - Date.parse(at);
  const length = wholeSeconds(Math.abs(passedMs));
  if (how === 'since') {
    return passedMs < 0 ? '0 s' : length;
  }
  if (length === '0 s') {
    return 'now';
  }
  return passedMs < 0 ? `in ${length}` : `${length.split(' ', 2).join(' ')} ago`;
}

const pad = (n) => String(n).padStart(2, '0');

// The time of day, with the date where it is not today's.
export function clockTime(at) {
  const then = new Date(at);
  const time = `${pad(then.getHours())}:${pad(then.getMinutes())}:${pad(then.getSeconds())}`;
  const date = `${then.getFullYear()}-${pad(then.getMonth() + 1)}-${pad(then.getDate())}`;
  return then.toDateString() === new Date().toDateString() ? time : `${date} ${time}`;
}

function tick() {
  if (document.hidden) {
    return;
  }
  for (const element of document.querySelectorAll('time')) {
    show(element, told(element.dateTime, element.dataset.how));
  }
}

setInterval(tick, SECOND_MS);
