// A page of jobs, and how many there are; where few match, the look goes on by itself until it is stopped.
import { call } from './api.js';
import { query } from './parts.js';

export const PAGE = 50;
const COUNTS_MS = 10000; // between two of the counts under a filter
const NAMES = ['type', 'queue', 'tag', 'kind', 'error', 'operation', 'since', 'until'];

export const filterOf = (params) =>
  Object.fromEntries(
    ['status', ...NAMES].filter((name) => params[name]).map((name) => [name, params[name]]),
  );
export const isFiltered = (params) => NAMES.some((name) => params[name]);

// `changed` is called when there is something to draw; a look ends where nobody `isShown` it. What took
// several requests is not asked for again by itself.
export function listing(changed, isShown) {
  let params = {};
  let looking = null; // the AbortController of a look that goes on
  const self = { page: null, counts: null, isLong: false, isUnknown: false, endedAt: 0 };
  let countedAt = 0;

  async function ask(cursor, limit, signal) {
    const path = `/jobs?${query({ ...params, cursor, from: '', limit })}`;
    try {
      return await call('GET', path, undefined, signal);
    } catch (error) {
      if (error.status !== 422) {
        throw error;
      }
      return { jobs: [], total: null, next_cursor: null, looked: 0, there: 0, said: error.message };
    }
  }

  async function count(signal) {
    if (!isFiltered(params) || Date.now() - countedAt < COUNTS_MS) {
      return;
    }
    try {
      const path = `/jobs/counts?${query({ ...filterOf(params), status: '' })}`;
      self.counts = await call('GET', path, undefined, signal);
    } catch (error) {
      if (error.status !== 422) {
        throw error;
      }
      self.counts = null; // the list says what is wrong
    }
    countedAt = Date.now();
  }

  async function lookOn() {
    const mine = new AbortController();
    looking?.abort();
    looking = mine;
    self.isLong = true;
    self.isUnknown = false;
    const { signal } = mine;
    try {
      while (self.page.next_cursor && self.page.jobs.length < PAGE && isShown()) {
        const more = await ask(self.page.next_cursor, PAGE - self.page.jobs.length, signal);
        signal.throwIfAborted();
        self.page = joined(self.page, more);
        changed();
      }
    } catch (error) {
      if (!signal.aborted) {
        self.page.said = error.message;
      }
    } finally {
      if (looking === mine) {
        looking = null;
        self.endedAt = Date.now();
        changed();
      }
    }
  }

  async function poll(signal, { isStill, isKnown }) {
    if (isStill || self.isLong) {
      return;
    }
    const first = self.page === null;
    const [page] = await Promise.all([ask(params.cursor, PAGE, signal), count(signal)]);
    self.page = page;
    if (first && params.type && !page.jobs.length) {
      self.isUnknown = !(await isKnown(params.type));
      self.isLong = self.isUnknown;
    }
    const goesOn = page.next_cursor && page.jobs.length < PAGE && isFiltered(params);
    if (goesOn && !self.isUnknown) {
      lookOn();
    }
  }

  function stop() {
    looking?.abort();
    looking = null;
    self.endedAt = Date.now();
    changed();
  }

  return Object.assign(self, {
    poll,
    lookOn,
    stop,
    isLooking: () => looking !== null,
    // Another list, or the same anew.
    open(next) {
      looking?.abort();
      looking = null;
      params = next;
      countedAt = 0;
      Object.assign(self, { page: null, counts: null, isLong: false, isUnknown: false });
    },
  });
}

function joined(page, more) {
  return {
    ...more,
    jobs: [...page.jobs, ...more.jobs],
    looked: page.looked + more.looked,
  };
}
