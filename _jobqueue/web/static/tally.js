// How far the jobs of a tag have come: a bar by status, with words.
import { call } from './api.js';
import { h, svg } from './dom.js';
import { panel, query, status } from './parts.js';
import { STATUSES } from './statuses.js';
import { number } from './words.js';

// From what has ended to what has not begun.
const ORDER = [
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

// What draws it, given the way to the list of a status. Null where the tag has no jobs, or is none.
export async function tallyOf({ tag, queue }, signal) {
  try {
    const path = `/tags/${encodeURIComponent(tag)}?${query({ queue })}`;
    const tally = await call('GET', path, undefined, signal);
    return tally.total ? (to) => drawn(tally, to) : null;
  } catch (error) {
    if (error.status !== 422) {
      throw error;
    }
    return null;
  }
}

function drawn({ jobs, total, ended, exact }, to) {
  const names = ORDER.filter((name) => jobs[name]);
  const words = `${number(ended)} of ${number(total)} ${ended === 1 ? 'has' : 'have'} ended`;
  let x = 0;
  const parts = names.map((name) => {
    const width = (WIDTH * jobs[name]) / total;
    const part = svg(`rect.${name}`, { x, width, height: HEIGHT });
    x += width;
    return part;
  });
  const picture = { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none' };
  return panel(
    'tally',
    [words, !exact && h('p', 'Not all of them are counted yet')],
    svg('svg.tally', { ...picture, role: 'img', label: words }, parts),
    h(
      'p.counts',
      names.map((name) => legend(name, `${number(jobs[name])} ${name}`, to)),
    ),
  );
}

function legend(name, words, to) {
  return STATUSES.includes(name)
    ? h('a', { href: to({ status: name }) }, status(name, words))
    : h('span.status', words);
}
