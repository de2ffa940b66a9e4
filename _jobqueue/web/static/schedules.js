// The schedules: when each is due next, what became of it last, and what can be done with it.
import { call } from './api.js';
import { agree, dialog, editor, toast } from './dialogs.js';
import { h, show } from './dom.js';
import {
  breakable,
  button,
  empty,
  input,
  jobLink,
  link,
  loading,
  panel,
  status,
  table,
} from './parts.js';
import { number, when } from './words.js';

const COLUMNS = ['Schedule', 'Next', 'Last', '#Fired', '#Action'];
const SAMPLE = { cron: '30 2 * * *', timezone: 'UTC', type: 'echo', payload: {} };
const READ_ONLY = [
  ...['name', 'queue', 'paused', 'next', 'in_words', 'last', 'counts'],
  ...['created_at', 'updated_at', 'payload_preview', 'truncated'],
];
const PREVIEW_MS = 300;
const PAGE = 50;

const pathOf = ({ queue, name }) => `/queues/${queue}/schedules/${name}`;

export function schedules(app) {
  let rows = null;
  let total = 0;
  let limit = PAGE;

  async function act(action, each) {
    const answer = await call('POST', `${pathOf(each)}/${action}`);
    if (action === 'run') {
      app.go(`#/jobs/${answer.job_id}`);
    }
    app.refresh();
  }

  async function remove(each) {
    const text = `${each.queue}/${each.name}: ${each.in_words}. The jobs that it has made stay.`;
    if (await agree({ title: 'Delete this schedule?', text, ok: 'Delete it', danger: true })) {
      await call('DELETE', pathOf(each));
      app.refresh();
    }
  }

  async function edit(each) {
    // The list cuts a large payload.
    const whole = await call('GET', pathOf(each));
    edited(app, whole);
  }

  function actions(each) {
    const label = (does) => ({ label: `${does} ${each.queue}/${each.name}` });
    const toggle = each.paused ? 'Resume' : 'Pause';
    return h(
      'span.actions',
      button('Run now', () => act('run', each), 'plain', label('Run now')),
      button(toggle, () => act(toggle.toLowerCase(), each), 'pause', label(toggle)),
      button('Edit', () => edit(each), 'plain', label('Edit')),
      button('Delete', () => remove(each), 'delete', label('Delete')),
    );
  }

  function row(each) {
    const { queue, name, counts } = each;
    const passed = ['skipped', 'missed'].filter((what) => counts[what]);
    return [
      `${queue} ${name}`,
      [
        h('strong', breakable(name)),
        h('small', ' ', breakable(each.type), ' in '),
        h('small', h('a', { href: link('jobs', { queue }) }, breakable(queue))),
        h('div', each.in_words),
      ],
      next(each),
      last(each),
      [
        number(counts.fired),
        passed.map((what) => h('div', h('small', `${number(counts[what])} ${what}`))),
      ],
      actions(each),
    ];
  }

  function list() {
    if (!rows) {
      return loading();
    }
    const add = button('New schedule', () => edited(app, null), 'primary', { needs: 'admin' });
    if (!rows.length) {
      const text = 'A schedule submits a job again and again: every so often, or at times of day.';
      return empty('No schedules', h('p', text), h('p.actions', add));
    }
    const more = () => {
      limit += PAGE;
      app.refresh();
    };
    return [
      h('p.actions', add),
      panel('schedules', '', table('Schedules', COLUMNS, rows.map(row), 'cards.many')),
      rows.length < total && h('p.actions', button(`More of ${number(total)}`, more)),
    ];
  }

  return {
    async poll(signal) {
      const found = [];
      let cursor = '';
      do {
        const on = cursor && `&cursor=${cursor}`;
        const answer = await call('GET', `/schedules?limit=${PAGE}${on}`, undefined, signal);
        found.push(...answer.schedules);
        total = answer.total;
        cursor = answer.next_cursor;
      } while (cursor && found.length < limit);
      rows = found;
    },
    draw: list,
  };
}

function next({ paused, next: times }) {
  if (paused) {
    return status('paused');
  }
  if (!times.length) {
    return 'never again';
  }
  return [when(times[0]), ' ', h('small.length', inZone(times[0]))];
}

function last({ last: was }) {
  if (!was) {
    return '–';
  }
  const job = was.job_id && jobLink(was.job_id);
  const now = was.job_status && status(was.job_status);
  return [h('div.length', was.outcome, ' ', when(was.at)), job && h('div', job, now)];
}

// The clock of the schedule's zone: "2027-01-31 02:30:00 -05:00".
function inZone(text) {
  const [, day, time, offset] = text.match(/^(.{10})T(.{8}).*?([+-].{5})$/);
  return `${day} ${time} ${offset}`;
}

// --- one schedule, as JSON, with a preview of when it would be due

function definition(schedule) {
  const kept = Object.entries(schedule).filter(([name]) => !READ_ONLY.includes(name));
  return JSON.stringify(Object.fromEntries(kept), null, 2);
}

function edited(app, schedule) {
  const text = schedule ? definition(schedule) : JSON.stringify(SAMPLE, null, 2);
  const { area, said, send, check } = editor('Schedule, JSON', text, 'Save');
  const fields = ['Queue', 'Name'].map((label) => input({ label, required: true }));
  const times = h('ol', { label: 'Next five times' });
  const place = () => (schedule ? schedule : { queue: fields[0].value, name: fields[1].value });
  let timer;
  let asked = 0;

  async function preview() {
    asked += 1;
    const mine = asked;
    const { queue, name } = place();
    try {
      const path = pathOf({ queue: queue || 'default', name: name || 'new' });
      const answer = await call('PUT', `${path}?dry_run`, area.value);
      if (mine === asked) {
        const lines = [answer.in_words, ...answer.next.map(inZone)].map((line) => h('li', line));
        show(times, [lines, answer.warning && h('li.wrong', answer.warning)]);
      }
    } catch (error) {
      if (mine === asked) {
        show(times, []);
        said.textContent = error.message;
      }
    }
  }

  area.oninput = () => {
    check();
    clearTimeout(timer);
    if (!said.textContent) {
      timer = setTimeout(preview, PREVIEW_MS);
    }
  };

  async function onsubmit(event) {
    event.preventDefault();
    try {
      const { warning } = await call('PUT', pathOf(place()), area.value);
      box.close();
      toast(warning ? `Saved, but ${warning}` : 'Saved', warning && 'error');
      app.refresh();
    } catch (error) {
      said.textContent = error.message;
    }
  }

  const title = schedule ? `Schedule ${schedule.queue}/${schedule.name}` : 'New schedule';
  const named = ['Queue', 'Name'].map((label, at) => h('label', h('span', label), fields[at]));
  const box = dialog(
    title,
    h(
      'form',
      { onsubmit },
      !schedule && h('div.fields', named),
      h('label', h('span', 'Schedule, JSON'), area),
      said,
      times,
      h(
        'p.actions',
        button('Leave it', () => box.close()),
        send,
      ),
    ),
  );
  preview();
}
