// A form for a new job.
import { call } from './api.js';
import { editor, toast } from './dialogs.js';
import { h } from './dom.js';
import { SAMPLE } from './lesson.js';
import { button, empty, input } from './parts.js';
import { may } from './role.js';

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
  { name: 'fair_key', title: 'Fair key, whose turn it is' },
  { name: 'tags', title: 'Tags, by spaces' },
];

export function create(app) {
  const { area, said, send, check } = editor('Payload, JSON', '{"hello": "world"}', 'Submit');
  const inputs = FIELDS.map(fieldInput);

  function fill({ payload, ...rest }) {
    for (const each of inputs) {
      each.value = rest[each.name] ?? '';
    }
    area.value = JSON.stringify(payload, null, 2);
    check();
  }

  async function onsubmit(event) {
    event.preventDefault();
    try {
      const job = await call('POST', '/jobs', bodyOf(inputs, area.value));
      if (job.warning) {
        toast(job.warning, 'error');
      }
      app.go(`#/jobs/${job.job_id}`);
    } catch (error) {
      said.textContent = error.message;
    }
  }

  const samples = Object.entries(SAMPLES).map(([name, job]) => button(name, () => fill(job)));
  const fields = inputs.map((each, at) => h('label', h('span', FIELDS[at].title), each));
  const form = h(
    'form.panel',
    { onsubmit },
    h('p.actions', 'Samples', samples),
    h('div.fields', fields),
    h('label', h('span', 'Payload, JSON'), area),
    said,
    h('p.actions', send),
  );
  const none = empty('This key may not submit jobs', h('p', 'It takes one with the scope submit.'));
  return { draw: () => (may('submit') ? form : none) };
}

function fieldInput({ name, title, placeholder, type }) {
  return input({ name, label: title, placeholder, type, step: 'any', list: `known-${name}` });
}

// As JSON, the payload as it was typed: a number may have more digits than JavaScript keeps.
function bodyOf(inputs, payload) {
  const given = inputs.filter((each) => each.value.trim());
  const fields = Object.fromEntries(given.map((each) => [each.name, valueOf(each)]));
  return JSON.stringify({ ...fields, payload: 0 }).replace(/0}$/, () => `${payload}}`);
}

function valueOf({ name, type, value }) {
  if (name === 'tags') {
    return value.trim().split(/\s+/);
  }
  return type === 'number' ? Number(value) : value.trim();
}
