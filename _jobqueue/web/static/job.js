// One job: what it is, what happened to it, and what can be done about it.
import { call, curl } from './api.js';
import { agree, copy, dialog, editor } from './dialogs.js';
import { h } from './dom.js';
import { flowPanel, waitsFor } from './flow.js';
import { bar, button, empty, facts, link, loading, panel, pre, short, status } from './parts.js';
import { FROM, reason } from './statuses.js';
import { visible } from './visible.js';
import { DELIVERY, webhookPanel } from './webhooks.js';
import { between, inQueues, number, span, when } from './words.js';

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
};

const pretty = (value) => visible(JSON.stringify(value, null, 2));

export function job(app, id) {
  let found = null;
  let flow = null;
  let deliveries = null;
  let missing = false;
  const path = `/jobs/${encodeURIComponent(id)}`;

  async function act(action) {
    if (!FROM[action]?.includes(found?.job.status) || (found.job.source && action !== 'delete')) {
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

  async function stopNow() {
    if (await isWanted('stop')) {
      await call('POST', `${path}/cancel`, '{"force":true}');
      app.refresh();
    }
  }

  function isWanted(action) {
    const { title, warning, ok } = CONFIRMATIONS[action];
    const { type, queue } = found.job;
    const text = `${type}, ${inQueues([queue])}. ${warning}`;
    return agree({ title, text, ok, danger: true });
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
      ),
      h('p.sentence', { role: 'status' }, explanation),
      job.status === 'processing' && progress && progressLine(progress),
      actions(job),
    );
  }

  function actions(job) {
    const { type, queue, priority, payload } = job;
    const command = curl({ type, queue, priority, payload });
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
      does('cancel', 'Cancel'),
      job.status === 'processing' && does('cancel', 'Stop now', stopNow),
      button('Copy as curl', () => copy(command, 'Command'), 'plain', { key: 'curl' }),
      does('delete', 'Delete'),
    );
  }

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
      return [
        lead(found),
        panel('facts', '', factsOf(job)),
        flowPanel(flow, job.job_id),
        webhookPanel(deliveries),
        job.status !== 'done' && job.errors.length > 0 && errorPanel(job.errors.at(-1)),
        panel('steps', 'What happened', h('ol.steps', steps(job))),
        job.log.length > 0 && textPanel('Log', job.log.join('\n')),
        h(
          'div.two',
          { key: 'data' },
          textPanel('Payload', pretty(job.payload)),
          job.status === 'done' && textPanel('Result', pretty(job.result)),
        ),
      ];
    },
  };
}

// --- parts of the page

function noSuchJob() {
  const all = h('a', { href: '#/jobs' }, 'All jobs');
  return empty('There is no such job', h('p', 'It was deleted or has expired. ', all));
}

function progressLine({ fraction, note }) {
  return h('p', bar(fraction, 1, 'Progress'), `${Math.round(fraction * 100)} % ${note}`);
}

function factsOf(job) {
  const tags = job.tags.map((tag) => h('a.tag', { href: link('jobs', { tag }) }, tag));
  return facts([
    ['Queue', h('a', { href: link('jobs', { queue: job.queue }) }, job.queue)],
    ['Priority', job.priority],
    ['Attempts', `${job.attempts} of ${job.max_attempts}`],
    ['Timeout', span(job.timeout_s * 1000)],
    ['Created', when(job.created_at)],
    job.run_at && ['Due', when(job.run_at)],
    job.limits && ['Limits', job.limits.join(', ')],
    job.expires_s && ['To start within', timeToStart(job)],
    job.cancel_requested_at && ['Asked to stop', when(job.cancel_requested_at)],
    job.schedule && ['Schedule', h('a', { href: '#/schedules' }, job.schedule)],
    job.scheduled_for && ['Scheduled for', when(job.scheduled_for)],
    job.fair_key && ['Fair key', job.fair_key],
    tags.length > 0 && ['Tags', tags],
    job.webhook && ['Webhook', h('code', visible(job.webhook))],
    job.traceparent && ['Trace', h('code', job.traceparent)],
    job.after && [job.type === DELIVERY ? 'Tells of' : 'Waits for', waitsFor(job)],
  ]);
}

function timeToStart({ expires_s, expires_at }) {
  return [span(expires_s * 1000), expires_at && [' · until ', when(expires_at)]];
}

function errorPanel(error) {
  const sentence = h('p.wrong', reason(error));
  return error.traceback
    ? textPanel('Error', error.traceback, sentence)
    : panel('Error', 'Error', sentence);
}

function textPanel(title, text, ...before) {
  const copies = button('Copy', () => copy(text, title), 'quiet', { label: `Copy ${title}` });
  return panel(title, [title, copies], before, pre(title, text));
}

// --- what happened

// Kinds of errors of jobs that did not start.
const NO_ATTEMPT = { expired: 'Not started in time', parent_gone: 'Waited in vain' };

function steps(job) {
  let before = job.created_at;
  const waited = (from) => from >= before && `waited ${between(before, from)} · `;
  const failures = job.errors.map((error) => {
    if (NO_ATTEMPT[error.kind]) {
      before = error.at;
      return step('cancelled', NO_ATTEMPT[error.kind], error.at, h('em', reason(error)));
    }
    const ran = [waited(error.started_at), 'ran ', between(error.started_at, error.at)];
    before = error.at;
    const more = [ran, by(error.worker), h('em', reason(error))];
    return {
      at: error.at,
      step: step('failed', `Attempt ${error.attempt} failed`, error.at, more),
    };
  });
  if (job.snoozes) {
    const earlier = job.errors.filter((error) => error.at <= job.snoozed_at).length;
    failures.splice(earlier, 0, snoozeStep(job));
  }
  if ((job.attempts < 2 || job.snoozes) && job.run_at > before) {
    before = job.run_at; // when it was due, or retried by hand
  }
  const happened = [...failures, ...(job.actions ?? []).map(action)];
  happened.sort((one, other) => (one.at < other.at ? -1 : 1)); // the same order where they are equal
  return [
    step('queued', 'Submitted', job.created_at),
    happened.map((each) => each.step),
    lastStep(job, before, waited),
  ];
}

const ACTIONS = {
  cancel: ['cancelled', 'Asked to cancel'],
  stop: ['cancelled', 'Stopped'],
  retry: ['queued', 'Retried'],
  run: ['queued', 'Run by hand'],
};

function action({ at, action, by }) {
  const [name, title] = ACTIONS[action];
  return { at, step: step(name, `${title} by ${visible(by ?? 'an operator')}`, at) };
}

function snoozeStep({ snoozes, snoozed_at, worker }) {
  const times = snoozes === 1 ? 'Snoozed' : `Snoozed ${number(snoozes)} times, last`;
  return step('scheduled', times, snoozed_at, by(worker));
}

function lastStep(job, before, waited) {
  const { status: now, started_at, finished_at, attempts } = job;
  switch (now) {
    case 'processing':
      return step(now, `Attempt ${attempts} is running`, started_at, [
        [waited(started_at), 'ran ', when(started_at, 'since')],
        by(job.worker),
      ]);
    case 'done':
      return step(now, `Attempt ${attempts} done`, finished_at, [
        [waited(started_at), 'ran ', between(started_at, finished_at)],
        by(job.worker),
      ]);
    case 'cancelled':
      return step(now, 'Cancelled', finished_at);
    case 'scheduled':
      return step(now, job.errors.length ? 'Next attempt' : 'Due', job.run_at);
    case 'queued':
      return step('scheduled', 'Waiting', null, [when(before, 'since')]);
    case 'blocked':
      return step('blocked', 'Waiting for others', null, [when(before, 'since')]);
    default:
      return null;
  }
}

function step(name, title, at, more = []) {
  return h('li', status(name, h('b', title)), at && when(at), h('span', more));
}

const by = (worker) => worker && ` · worker ${short(worker)}`;
