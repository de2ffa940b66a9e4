// What a text names. A single job is shown at once.
import { call } from './api.js';
import { h } from './dom.js';
import { empty, jobLink, link, loading, query, status, table } from './parts.js';
import { number } from './words.js';

const NAMES = {
  job: 'Job',
  unique_key: 'Unique key of a job',
  idempotency_key: 'Idempotency key of a job',
  tag: 'Tag',
  kind: 'Kind of error',
  queue: 'Queue',
  type: 'Type',
};
const PLACES = { queue: 'the queue', history: 'the record' };

export function search() {
  let params = {};
  let data = null;

  function row({ as, job, filter, jobs, source }) {
    const view = source === 'history' ? 'history' : 'jobs';
    const lead = job ? jobLink(job.job_id, job.type) : h('a', { href: link(view, filter) }, data.q);
    const more = job ? status(job.status) : jobs !== null && number(jobs);
    return [`${as} ${job?.job_id}`, lead, NAMES[as], more, PLACES[source]];
  }

  return {
    open(next, same) {
      params = next;
      data = same ? data : null;
    },
    async poll(signal) {
      if (data) {
        return;
      }
      data = await found(params.q ?? '', signal);
      const [only, ...others] = data.found;
      if (only?.job && !others.length) {
        location.replace(`#/jobs/${only.job.job_id}`);
      }
    },
    draw() {
      if (!data) {
        return loading();
      }
      const notes = data.notes.map((note) => h('p.source', { key: note }, note));
      if (!data.found.length) {
        const all = h('a', { href: '#/jobs' }, 'All jobs');
        return [empty(data.said ?? `Nothing is called ${data.q}`, h('p', all)), notes];
      }
      const heads = ['Name', 'Is', '#Jobs', 'Found in'];
      return [table('What was found', heads, data.found.map(row)), notes];
    },
  };
}

async function found(q, signal) {
  try {
    return await call('GET', `/search?${query({ q })}`, undefined, signal);
  } catch (error) {
    if (error.status !== 422) {
      throw error;
    }
    return { q, found: [], notes: [], said: error.message };
  }
}
