// How the ends of jobs were told to their webhooks: of all jobs, and of one.
import { call } from './api.js';
import { h } from './dom.js';
import { empty, jobLink, link, loading, panel, query, status, table } from './parts.js';
import { reason } from './statuses.js';
import { number, when } from './words.js';

export const DELIVERY = 'jobqueue.webhook';

// Of a delivery: what its status means.
const MEANINGS = {
  failed: 'given up',
  scheduled: 'to be told again',
  queued: 'to be told',
  processing: 'being told',
  done: 'told',
};
const COLUMNS = ['Of the job', 'To', 'What came of it', '#Attempts', '#When'];
const PAGE = 50;

export function webhooks(app) {
  let params = {};
  let data = null;

  const shown = () => params.status ?? 'failed';

  function chips() {
    const waiting = (name) =>
      app.stats.queues.reduce((sum, { untold }) => sum + (untold?.[name] ?? 0), 0);
    const chip = (name) =>
      h(
        'a',
        {
          href: link('webhooks', { status: name }),
          'aria-current': shown() === name && 'true',
        },
        status(name, MEANINGS[name]),
        name !== 'done' && h('span.count', number(waiting(name))),
      );
    return h('nav.chips', { label: 'Status', key: 'chips' }, Object.keys(MEANINGS).map(chip));
  }

  function list() {
    const { jobs, next_cursor: cursor } = data;
    const name = shown();
    const further = { status: name, type: DELIVERY };
    const more = cursor && h('a', { href: link('jobs', further) }, 'Look further, in Jobs');
    if (!jobs.length) {
      const title = cursor ? 'None among those looked at' : `None is ${MEANINGS[name]}`;
      const text = 'A job that names a webhook has it told of its end.';
      return empty(title, h('p', text), more);
    }
    return [
      panel('deliveries', '', table('Webhooks', COLUMNS, jobs.map(row), 'cards.many')),
      h(
        'p',
        { key: 'more' },
        more || h('a', { href: link('jobs', further) }, 'Retry, cancel or delete them in Jobs'),
      ),
    ];
  }

  return {
    open(next, same) {
      params = next;
      data = same ? data : null;
    },
    async poll(signal) {
      const asked = query({ status: shown(), type: DELIVERY, limit: PAGE });
      data = await call('GET', `/jobs?${asked}`, undefined, signal);
    },
    draw() {
      return [chips(), data ? list() : loading()];
    },
  };
}

function row(delivery) {
  const { job_id, webhook, payload, after, attempts, max_attempts } = delivery;
  const of = after?.[0];
  return [
    job_id,
    h('span.length', of ? jobLink(of) : '–', ' ', payload?.status && status(payload.status)),
    h('code', webhook ?? '–'),
    [outcome(delivery), ' ', jobLink(job_id)],
    `${attempts} of ${max_attempts}`,
    when(delivery.run_at && delivery.status === 'scheduled' ? delivery.run_at : lastOf(delivery)),
  ];
}

function outcome({ status: now, errors }) {
  return now !== 'done' && errors.length > 0 ? reason(errors.at(-1)) : MEANINGS[now];
}

const lastOf = ({ finished_at, started_at, created_at }) => finished_at ?? started_at ?? created_at;

// --- those of one job

const all = (text, name) => h('a', { href: link('webhooks', { status: name }) }, text);

export function webhookPanel(deliveries) {
  if (!deliveries) {
    return false;
  }
  return panel(
    'webhook',
    [
      'Webhook',
      h('p', 'Of all jobs: ', all('given up', 'failed'), ' · ', all('to come', 'scheduled')),
    ],
    deliveries.length > 0
      ? h('ol.steps', deliveries.map(told))
      : h('p', 'It is told when the job has ended.'),
  );
}

function told({ job_id, status: now, payload, attempts, max_attempts, errors, run_at }) {
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
