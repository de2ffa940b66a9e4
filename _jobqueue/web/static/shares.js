// How many jobs have which status, as a bar and in words.
import { h, svg } from './dom.js';
import { status } from './parts.js';
import { number } from './words.js';

// From what has ended to what has not begun.
export const ORDER = [
  'done',
  'failed',
  'cancelled',
  'trimmed',
  'deleted',
  'processing',
  'queued',
  'scheduled',
  'blocked',
];
const WIDTH = 1000;
const HEIGHT = 12;

const there = (jobs) => ORDER.filter((name) => jobs[name]);

export function share(jobs, total, label) {
  let x = 0;
  const parts = there(jobs).map((name) => {
    const width = (WIDTH * jobs[name]) / total;
    const part = svg(`rect.${name}`, { x, width, height: HEIGHT });
    x += width;
    return part;
  });
  const picture = { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none' };
  return svg('svg.tally', { ...picture, role: 'img', label }, parts);
}

const plain = (name, words) => status(name, words);

// `legend` makes one of the words.
export function counts(jobs, legend = plain) {
  const words = there(jobs).map((name) => legend(name, `${number(jobs[name])} ${name}`));
  return h('p.counts', words);
}
