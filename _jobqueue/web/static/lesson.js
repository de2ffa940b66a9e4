// What to do when no job has ever been submitted.
import { call, curl } from './api.js';
import { h } from './dom.js';
import { button, empty, pre } from './parts.js';
import { may } from './key.js';

export const SAMPLE = { type: 'echo', payload: { hello: 'world' } };

export function lesson(app) {
  async function submitSample() {
    const job = await call('POST', '/jobs', SAMPLE);
    app.go(`#/jobs/${job.job_id}`);
  }
  const writeOne = h('a', { href: '#/create' }, 'write one');
  return empty(
    'No job has been submitted yet',
    h(
      'p',
      'Hand one over from a terminal and watch it here',
      may('submit') && [', or ', writeOne],
      ':',
    ),
    pre('Command', curl(SAMPLE)),
    h('p.actions', button('Submit a sample job', submitSample, 'primary', { needs: 'submit' })),
  );
}
