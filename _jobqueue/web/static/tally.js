// How far the jobs of a tag have come: a bar by status, with words.
import { call } from './api.js';
import { h } from './dom.js';
import { panel, query, status } from './parts.js';
import { counts, share } from './shares.js';
import { STATUSES } from './statuses.js';
import { number } from './words.js';

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
  const words = `${number(ended)} of ${number(total)} ${ended === 1 ? 'has' : 'have'} ended`;
  return panel(
    'tally',
    [words, !exact && h('p', 'Not all of them are counted yet')],
    share(jobs, total, words),
    counts(jobs, (name, each) => legend(name, each, to)),
  );
}

function legend(name, words, to) {
  return STATUSES.includes(name)
    ? h('a', { href: to({ status: name }) }, status(name, words))
    : h('span.status', words);
}
