// One job: what it is, what happened to it, and what can be done about it.
import { canBeRepeated, sameJob } from './again.js';
import { call, curl } from './api.js';
import { agree, copy, dialog, editor } from './dialogs.js';
import { h } from './dom.js';
import { flowPanel, waitsFor } from './flow.js';
import { follow, logPanel } from './log.js';
import { bar, button, empty, facts, link, loading, panel, short, status } from './parts.js';
import { FROM } from './statuses.js';
import { steps } from './steps.js';
import { timeline } from './timeline.js';
import { folds, treePanel } from './tree.js';
import { visible } from './visible.js';
import { DELIVERY, webhookPanel } from './webhooks.js';
import { inQueues, span, when } from './words.js';

const CONFIRMATIONS = {
  delete: { title: 'Delete this job?', warning: 'It cannot be undone.', ok: 'Delete the job' },
  cancel: {
    title: 'Cancel this job?',
    warning: 'If it runs, its handler is asked to stop.',
    ok: 'Cancel the job',
  },
  stop: {
    title: 'Stop this job now?',
    warning: 'Its handler is interrupted wherever it is, as at its timeout.',
    ok: 'Stop the job',
  },
  again: {
    title: 'Run this job again?',
    warning: 'A new job like it is submitted; this one stays as it is.',
    ok: 'Submit a new job',
  },
};
const ENDED = ['done', 'failed', 'cancelled'];

const pretty = (value) => visible(JSON.stringify(value, null, 2));

// Its handler was asked to stop and has not stopped yet.
const isStopping = (job) => job.status === 'processing' && Boolean(job.cancel_requested_at);

export function job(app, id) {
  let found = null;
  let flow = null;
  let deliveries = null;
  let missing = false;
  const payloadFolds = folds();
  const resultFolds = folds();
  const traces = new Map();
  const log = {};
  const path = `/jobs/${encodeURIComponent(id)}`;

  async function act(action) {
    if (!FROM[action]?.includes(found?.job.status) || (found.job.source && action !== 'delete')) {
      return;
    }
    if (action === 'cancel' && isStopping(found.job)) {
      await stopNow();
      return;
    }
    if (CONFIRMATIONS[action] && !(await isWanted(action))) {
      return;
    }
    if (action === 'delete') {
      await call('DELETE', path);
      app.go('#/jobs');
    } else {
      await call('POST', `${path}/${action}`);
      app.refresh();
    }
  }

  // For a handler that does not heed a cancel.
  async function stopNow() {
    if (await isWanted('stop')) {
      await call('POST', `${path}/cancel`, '{"force":true}');
      app.refresh();
    }
  }

  async function runAgain() {
    if (await isWanted('again')) {
      const submitted = await call('POST', '/jobs', sameJob(found.job));
      app.go(`#/jobs/${submitted.job_id}`);
    }
  }

  function isWanted(action) {
    const { title, warning, ok } = CONFIRMATIONS[action];
    const { type, queue } = found.job;
    const text = `${type}, ${inQueues([queue])}. ${warning}`;
    return agree({ title, text, ok, danger: action !== 'again' });
  }

  function retryAnew() {
    const { area, said, send } = editor(
      'Payload',
      pretty(found.job.payload),
      'Retry with this payload',
    );
    async function onsubmit(event) {
      event.preventDefault();
      await call('POST', `${path}/retry`, `{"payload":${area.value}}`);
      box.close();
      app.refresh();
    }
    const close = button('Close', () => box.close());
    const form = h('form', { onsubmit }, area, said, h('p.actions', close, send));
    const box = dialog('Retry with another payload', form);
  }

  function lead({ job, explanation }) {
    const { progress } = job;
    return h(
      'section.lead',
      { key: 'lead' },
      h(
        'p.name',
        status(job.status),
        h('strong', job.type),
        h('code.id', job.job_id),
        button('Copy id', () => copy(job.job_id, 'Id'), 'quiet'),
        isStopping(job) && h('b.late', 'cancelling since ', when(job.cancel_requested_at, 'since')),
      ),
      h('p.sentence', { role: 'status' }, explanation),
      job.status === 'processing' && progress && h('p', bar(progress.fraction, 1, 'Progress')),
      actions(job),
    );
  }

  function actions(job) {
    function does(action, title, how = () => act(action)) {
      const isPossible = FROM[action].includes(job.status) && (!job.source || action === 'delete');
      return isPossible && button(title, how, action, { key: title });
    }
    return h(
      'p.actions',
      { key: 'actions' },
      does('retry', 'Retry'),
      does('retry', 'Retry with another payload…', retryAnew),
      does('run', 'Run now'),
      isStopping(job)
        ? button('Stop now', stopNow, 'danger', { key: 'Stop now', needs: 'admin' })
        : does('cancel', 'Cancel'),
      canBeRepeated(job) && repeats(job),
      does('delete', 'Delete'),
    );
  }

  function repeats(job) {
    const curlOf = () => copy(curl(sameJob(job)), 'Command');
    const template = () => app.go(link('create', { from: job.job_id }));
    return [
      ENDED.includes(job.status) &&
        button('Run again', runAgain, 'plain', { key: 'again', needs: 'submit' }),
      button('Use as template', template, 'plain', { key: 'template', needs: 'submit' }),
      button('Copy as curl', curlOf, 'plain', { key: 'curl' }),
    ];
  }

  // Which worker, with a link to it and, while it lives, its host.
  function worker(id) {
    const known = app.stats?.workers.find((each) => each.worker === id);
    const where = known && ` on ${known.http ? known.host : `${known.host}:${known.pid}`}`;
    return [h('a', { href: link('workers', { worker: id }), title: id }, short(id)), where];
  }

  const by = (id) => id && [' · worker ', worker(id)];

  return {
    act,
    polls: false,
    title: `Job ${short(id)}`,
    async poll(signal) {
      try {
        found = await call('GET', `${path}/explain`, undefined, signal);
        // The record knows no edges.
        flow = found.job.source ? null : await call('GET', `${path}/flow`, undefined, signal);
        deliveries = null;
        if (found.job.webhook && found.job.type !== DELIVERY && !found.job.source) {
          ({ deliveries } = await call('GET', `${path}/deliveries`, undefined, signal));
        }
      } catch (error) {
        if (error.status !== 404) {
          throw error;
        }
        found = null;
        missing = true;
      }
    },
    draw() {
      if (!found) {
        return missing ? noSuchJob() : loading();
      }
      const { job } = found;
      const told = steps(job, { by, folds: traces, changed: app.draw });
      return [
        lead(found),
        timeline(job),
        panel('facts', '', factsOf(job, worker)),
        flowPanel(flow, job.job_id),
        webhookPanel(deliveries),
        panel('steps', 'What happened', h('ol.steps', told)),
        job.log.length > 0 && logPanel(job, log),
        h(
          'div.two',
          { key: 'data' },
          treePanel('Payload', job.payload, payloadFolds, app.draw),
          job.status === 'done' && treePanel('Result', job.result, resultFolds, app.draw),
        ),
      ];
    },
    drawn() {
      if (found) {
        follow(found.job, log);
      }
    },
  };
}

// --- parts of the page

function noSuchJob() {
  const all = h('a', { href: '#/jobs' }, 'All jobs');
  return empty('There is no such job', h('p', 'It was deleted or has expired. ', all));
}

function factsOf(job, worker) {
  const tags = job.tags.map((tag) => h('a.tag', { href: link('jobs', { tag }) }, tag));
  return facts([
    ['Queue', h('a', { href: link('jobs', { queue: job.queue }) }, job.queue)],
    ['Priority', job.priority],
    ['Attempts', `${job.attempts} of ${job.max_attempts}`],
    ['Timeout', span(job.timeout_s * 1000)],
    ['Created', when(job.created_at)],
    isDue(job) && ['Due', when(job.run_at)],
    job.worker && job.status === 'processing' && ['Worker', worker(job.worker)],
    job.limits && ['Limits', limitsOf(job)],
    job.unique_key && ['Unique key', job.unique_key],
    job.expires_s && ['To start within', timeToStart(job)],
    job.schedule && ['Schedule', h('a', { href: '#/schedules' }, job.schedule)],
    job.scheduled_for && ['Scheduled for', when(job.scheduled_for)],
    job.fair_key && ['Fair key', job.fair_key],
    tags.length > 0 && ['Tags', tags],
    job.webhook && ['Webhook', h('code', visible(job.webhook))],
    job.traceparent && ['Trace', h('code', job.traceparent)],
    job.after && [nameOfAfter(job), waitsFor(job)],
  ]);
}

function nameOfAfter({ type, status: now }) {
  if (type === DELIVERY) {
    return 'Tells of';
  }
  return now === 'blocked' ? 'Waits for' : 'Waited for';
}

function limitsOf({ queue, limits }) {
  return h('a', { href: link('limits', { queue }) }, limits.join(', '));
}

// What has ended is due no more.
const isDue = (job) => job.run_at && !ENDED.includes(job.status);

function timeToStart({ expires_s, expires_at }) {
  return [span(expires_s * 1000), expires_at && [' · until ', when(expires_at)]];
}
