// How the ends of a job were told to its webhook.
import { h } from './dom.js';
import { jobLink, link, panel, status } from './parts.js';
import { reason } from './statuses.js';
import { when } from './words.js';

export const DELIVERY = 'jobqueue.webhook';

// All that is given up, or is still to be told.
const untold = (text, name) =>
  h('a', { href: link('jobs', { status: name, type: DELIVERY }) }, text);

export function webhookPanel(deliveries) {
  if (!deliveries) {
    return false;
  }
  return panel(
    'webhook',
    [
      'Webhook',
      h('p', 'Of all jobs: ', untold('given up', 'failed'), ' · ', untold('to come', 'scheduled')),
    ],
    deliveries.length > 0
      ? h('ol.steps', deliveries.map(row))
      : h('p', 'It is told when the job has ended.'),
  );
}

function row({ job_id, status: now, payload, attempts, max_attempts, errors, run_at }) {
  return h(
    'li',
    { key: job_id },
    status(now, `${payload?.status ?? 'end'}: ${now}`),
    ' ',
    jobLink(job_id),
    h('small', ` ${attempts} of ${max_attempts} attempts`),
    now === 'scheduled' && h('small', ', again ', when(run_at)),
    now !== 'done' && errors.length > 0 && h('em', reason(errors.at(-1))),
  );
}
