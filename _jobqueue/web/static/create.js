// A form for a new job.
import { call } from './api.js';
import { editor, toast } from './dialogs.js';
import { h } from './dom.js';
import { SAMPLE } from './lesson.js';
import { button, empty, input } from './parts.js';
import { may } from './key.js';
import { visible } from './visible.js';

const SAMPLES = {
  Echo: SAMPLE,
  'A report': { type: 'report.generate', payload: {} },
  'A flaky e-mail': { type: 'send_email', payload: { fail_rate: 0.7 } },
  'A dead letter': { type: 'TEST', payload: 'FAIL_NOW' },
};
const FIELDS = [
  { name: 'type', title: 'Type', placeholder: 'echo' },
  { name: 'queue', title: 'Queue', placeholder: 'default' },
  { name: 'priority', title: 'Priority, 9 is first', placeholder: '5', type: 'number' },
  { name: 'delay_s', title: 'Delay, seconds', placeholder: '0', type: 'number' },
  { name: 'max_attempts', title: 'Attempts at most', placeholder: '', type: 'number' },
  { name: 'timeout_s', title: 'Timeout, seconds', placeholder: '', type: 'number' },
  { name: 'unique_key', title: 'Unique key' },
  { name: 'tags', title: 'Tags, by spaces', list: true },
  { name: 'fair_key', title: 'Fair key, whose turn it is' },
  { name: 'limits', title: 'Limits, by spaces', list: true },
  { name: 'after', title: 'Waits for jobs, ids by spaces', list: true },
  { name: 'run_at', title: 'Not before, with the zone', placeholder: '2027-01-31T08:00:00Z' },
  { name: 'expires_s', title: 'To start within, seconds', type: 'number' },
  { name: 'backoff_s', title: 'First retry after, seconds', type: 'number' },
  { name: 'webhook', title: 'Webhook', placeholder: 'an address that is told of the end' },
];
const USUAL = 8; // fields that are always there
const SHOWN = FIELDS.map(({ name }) => name);
const LISTS = FIELDS.filter(({ list }) => list).map(({ name }) => name);

export function create(app) {
  const { area, said, send, check } = editor('Payload, JSON', '{"hello": "world"}', 'Submit');
  const inputs = FIELDS.map(fieldInput);
  let more = {}; // of a template: what has no field here

  function fill({ payload, ...rest }) {
    for (const each of inputs) {
      each.value = [rest[each.name] ?? ''].flat().join(' ');
    }
    more = Object.fromEntries(Object.entries(rest).filter(([name]) => !SHOWN.includes(name)));
    const names = Object.keys(more).join(', ');
    also.textContent = names && `Of the template too: ${names}.`;
    rare.open = inputs.slice(USUAL).some((each) => each.value);
    area.value = visible(JSON.stringify(payload, null, 2));
    check();
  }

  // A job that is taken as a template.
  async function take(id) {
    const { sameJob } = await import('./again.js');
    fill(sameJob(await call('GET', `/jobs/${encodeURIComponent(id)}?words=canonical`)));
  }

  async function onsubmit(event) {
    event.preventDefault();
    try {
      const job = await call('POST', '/jobs', bodyOf(inputs, more, area.value));
      if (job.warning) {
        toast(job.warning, 'error');
      }
      app.go(`#/jobs/${job.job_id}`);
    } catch (error) {
      said.textContent = error.message;
    }
  }

  const samples = Object.entries(SAMPLES).map(([name, job]) => button(name, () => fill(job)));
  const labels = inputs.map((each, at) => h('label', h('span', FIELDS[at].title), each));
  const rare = h('details', h('summary', 'More'), h('div.fields', labels.slice(USUAL)));
  const also = h('p');
  const form = h(
    'form.panel',
    { onsubmit },
    h('p.actions', 'Samples', samples),
    h('div.fields', labels.slice(0, USUAL)),
    rare,
    h('label', h('span', 'Payload, JSON'), area),
    also,
    said,
    h('p.actions', send),
  );
  const none = empty('This key may not submit jobs', h('p', 'It takes one with the scope submit.'));
  return {
    open({ from }, same) {
      if (from && !same) {
        take(from);
      }
    },
    draw: () => (may('submit') ? form : none),
  };
}

function fieldInput({ name, title, placeholder, type }) {
  return input({ name, label: title, placeholder, type, step: 'any', list: `known-${name}` });
}

// As JSON, the payload as it was typed: a number may have more digits than JavaScript keeps.
function bodyOf(inputs, more, payload) {
  const given = inputs.filter((each) => each.value.trim());
  const fields = Object.fromEntries(given.map((each) => [each.name, valueOf(each)]));
  return JSON.stringify({ ...more, ...fields, payload: 0 }).replace(/0}$/, () => `${payload}}`);
}

function valueOf({ name, type, value }) {
  if (LISTS.includes(name)) {
    return value.trim().split(/\s+/);
  }
  return type === 'number' ? Number(value) : value.trim();
}
