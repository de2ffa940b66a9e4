// How many jobs may wait in a queue: shown, and set.
import { call } from './api.js';
import { dialog } from './dialogs.js';
import { h } from './dom.js';
import { button, input } from './parts.js';
import { number } from './words.js';

// Beside the number of those that wait.
export function room({ max_queued, jobs }) {
  if (max_queued === null) {
    return false;
  }
  const full = jobs.queued + jobs.scheduled + jobs.blocked >= max_queued;
  const text = full ? ` full: ${number(max_queued)} may wait` : ` of ${number(max_queued)}`;
  return h(full ? 'b.late' : 'small', text);
}

export function limitButton(app, each) {
  return button('Limit waiting', () => ask(app, each), 'plain', {
    label: `Limit what waits in ${each.queue}`,
  });
}

function ask(app, { queue, max_queued }) {
  const field = input({ type: 'number', min: 0, step: 1, value: max_queued ?? '' });
  const said = h('p.wrong', { role: 'status' });
  async function onsubmit(event) {
    event.preventDefault();
    try {
      const most = field.value.trim() ? Number(field.value) : null;
      await call('PUT', `/queues/${queue}`, JSON.stringify({ max_queued: most }));
      box.close();
      app.refresh();
    } catch (error) {
      said.textContent = error.message;
    }
  }
  const box = dialog(
    `How many jobs may wait in ${queue}?`,
    h('p', 'While so many do, submits are refused with 429. Retries never wait for room.'),
    h(
      'form',
      { onsubmit },
      h('label', h('span', 'Jobs that may wait; empty: any number'), field),
      said,
      h(
        'p.actions',
        button('Leave it', () => box.close()),
        h('button.primary', 'Set it'),
      ),
    ),
  );
  field.focus();
}
