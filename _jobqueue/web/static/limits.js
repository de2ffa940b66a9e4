// The limits of a queue: how many run of how many may, what waits, when it opens; set and removed here.
import { call } from './api.js';
import { agree, dialog, toast } from './dialogs.js';
import { h } from './dom.js';
import { bar, breakable, button, empty, input, link, loading, panel, table } from './parts.js';
import { number, when } from './words.js';

const COLUMNS = ['Limit', '#Running', '#Waiting', 'Rate', 'Opens', '#Action'];
const PAGE = 50;

export function limits(app) {
  let queue = '';
  let rows = null;
  let more = false;
  let limit = PAGE;

  const queues = () => app.stats.queues.map((each) => each.queue);
  const pathOf = (name) => `/queues/${queue}/limits/${encodeURIComponent(name)}`;

  async function remove({ name }) {
    const text = `${name} in the queue ${queue}: jobs that wait for it may start at once.`;
    if (await agree({ title: 'Remove this limit?', text, ok: 'Remove it', danger: true })) {
      await call('DELETE', pathOf(name));
      app.refresh();
    }
  }

  function actions(each) {
    const label = (does) => ({ label: `${does} ${each.name} in ${queue}` });
    const set = button(each.pattern ? 'Set' : 'Edit', () => edited(each), 'plain', label('Edit'));
    return h(
      'span.actions',
      set,
      !each.pattern && button('Remove', () => remove(each), 'delete', label('Remove')),
    );
  }

  function row(each) {
    const by = each.pattern && h('div', h('small', 'by ', breakable(each.pattern)));
    return [
      each.name,
      [h('strong', breakable(each.name)), by],
      running(each),
      number(each.waiting),
      each.rate ? `${number(each.rate.starts)} in ${number(each.rate.per_s)} s` : '–',
      each.opens_at ? when(each.opens_at) : '–',
      actions(each),
    ];
  }

  function chooser() {
    const option = (name) => h('option', { value: name, selected: name === queue }, name);
    const onchange = ({ target }) => app.go(link('limits', { queue: target.value }));
    return h('label', { key: 'queue' }, 'Queue ', h('select', { onchange }, queues().map(option)));
  }

  function edited(each) {
    const field = (label, value, properties) => [label, input({ label, value, ...properties })];
    const whole = { type: 'number', min: 1 };
    const fields = [
      field('Limit', each?.name ?? '', { required: true, disabled: Boolean(each) }),
      field('Jobs at once', each?.max_running ?? '', whole),
      field('Starts', each?.rate?.starts ?? '', whole),
      field('In seconds', each?.rate?.per_s ?? '', whole),
    ];
    const said = h('p.wrong', { role: 'status' });
    const valueOf = (at) => fields[at][1].value.trim();
    async function onsubmit(event) {
      event.preventDefault();
      const body = {};
      if (valueOf(1)) {
        body.max_running = Number(valueOf(1));
      }
      if (valueOf(2) || valueOf(3)) {
        body.rate = { starts: Number(valueOf(2)), per_s: Number(valueOf(3)) };
      }
      try {
        await call('PUT', pathOf(valueOf(0)), JSON.stringify(body));
        box.close();
        toast('Saved');
        app.refresh();
      } catch (error) {
        said.textContent = error.message;
      }
    }
    const box = dialog(
      each ? `Limit ${each.name}` : `New limit in ${queue}`,
      h(
        'form',
        { onsubmit },
        h(
          'div.fields',
          fields.map(([label, made]) => h('label', h('span', label), made)),
        ),
        said,
        h(
          'p.actions',
          button('Leave it', () => box.close()),
          h('button.primary', 'Save'),
        ),
      ),
    );
  }

  return {
    open({ queue: wanted }) {
      queue = wanted ?? '';
      rows = null;
    },
    async poll(signal) {
      queue ||= queues()[0] ?? '';
      if (!queue) {
        rows = [];
        return;
      }
      let cursor = '';
      const found = [];
      do {
        const on = cursor && `&cursor=${encodeURIComponent(cursor)}`;
        const path = `/queues/${queue}/limits?limit=${PAGE}${on}`;
        const answer = await call('GET', path, undefined, signal);
        found.push(...answer.limits);
        cursor = answer.next_cursor;
      } while (cursor && found.length < limit);
      rows = found;
      more = Boolean(cursor);
    },
    draw() {
      if (!rows) {
        return loading();
      }
      if (!queue) {
        return empty('No queues yet', h('p', 'A limit belongs to a queue.'));
      }
      const add = button('New limit', () => edited(null), 'primary', { needs: 'admin' });
      const head = h('p.actions', { key: 'head' }, chooser(), add);
      if (!rows.length) {
        const text = 'A limit says how many jobs that name it run at once, or start in a time.';
        return [head, empty('No limits', h('p', text))];
      }
      const next = () => {
        limit += PAGE;
        app.refresh();
      };
      return [
        head,
        panel('limits', '', table('Limits', COLUMNS, rows.map(row), 'cards.many')),
        more && h('p.actions', { key: 'more' }, button('More', next)),
      ];
    },
  };
}

function running({ running: n, max_running: most, name }) {
  if (!most) {
    return number(n);
  }
  return [bar(Math.min(n, most), most, `${name}: running`), ` ${number(n)} of ${number(most)}`];
}
