// The dead letters, by the kind of their last error, and in a kind by type and by what they say.
import { call } from './api.js';
import { bulk, outcome } from './bulk.js';
import { toast } from './dialogs.js';
import { h, svg } from './dom.js';
import { breakable, button, empty, jobLink, link, loading, panel, query, table } from './parts.js';
import { moment, timesSwitch } from './times.js';
import { inQueues, number, plural } from './words.js';

const COLUMNS = ['Error', '#How many', 'Last hour', '#First', '#Last', '#Action'];
const [WIDTH, HEIGHT] = [120, 24];
const ASK_MS = 5000; // between two looks
const LEAST = 2; // pixels of what is not nothing

export function dead(app) {
  let params = {};
  let data = null;
  let askedAt = 0;
  let done = null; // what was retried last: it can be watched

  // `of` is a kind, or {kind, type, error}.
  async function act(action, of) {
    const named = typeof of === 'string' ? { kind: of } : of;
    const acted = await bulk(
      action,
      { filter: { status: 'failed', ...named, ...params } },
      what(named),
    );
    if (acted?.watch) {
      done = acted;
    } else if (acted) {
      toast(acted.said);
    }
    askedAt = 0;
    app.refresh();
  }

  function what({ kind, type, error }) {
    const which = type ? `of the type ${type} that say “${error}”, ` : '';
    return `dead letters of the kind ${kind} ${which}${inQueues(params.queue ? [params.queue] : [])}`;
  }

  function actions(of, name) {
    const act_ = (action, text) =>
      button(text, () => act(action, of), action, { label: `${text} of ${name}` });
    return h('span.actions', act_('retry', 'Retry all'), act_('delete', 'Delete all'));
  }

  // By the keyboard, on a row.
  function actOn(action, key) {
    const group = data?.errors.find((each) => keyOf(each) === key);
    const kind = data?.kinds.find((each) => each.kind === key);
    if ((group || kind) && ['retry', 'delete'].includes(action)) {
      act(action, kind ? key : ofGroup(group));
    }
  }

  const listed = (filter) => link('jobs', { ...params, status: 'failed', ...filter });

  function kindRow(kind, [only, ...others]) {
    const { kind: name, count, looked, first_at, latest } = kind;
    const alike = only && !others.length ? only : null;
    const part = looked < count && `the latest ${number(looked)} of them`;
    const about = alike
      ? [part && `${part}: `, said(alike)]
      : [part && `${part}: `, plural(others.length + 1, 'different error')];
    return [
      name,
      [h('a', { href: listed({ kind: name }) }, h('strong', breakable(name))), h('div.of', about)],
      number(count),
      spark(alike ? alike.minutes : summed([only, ...others].filter(Boolean))),
      moment(first_at),
      last(latest),
      actions(name, name),
    ];
  }

  function groupRow(group) {
    const { count, first_at, latest, minutes } = group;
    const [of, name] = [ofGroup(group), keyOf(group)];
    return [
      name,
      [h('a.sub', { href: listed(of) }, said(group))],
      number(count),
      spark(minutes),
      moment(first_at),
      last(latest),
      actions(of, name),
    ];
  }

  function rowsOf(kind) {
    const groups = data.errors.filter((each) => each.kind === kind.kind);
    const isOne = groups.length < 2;
    return [kindRow(kind, groups), ...(isOne ? [] : groups.map(groupRow))];
  }

  function list() {
    if (!data) {
      return loading();
    }
    if (!data.kinds.length) {
      return empty('No dead letters', h('p', 'Jobs that fail for good come here.'));
    }
    const rows = data.kinds.flatMap(rowsOf);
    return [
      panel('kinds', '', table('Dead letters by what they say', COLUMNS, rows, 'cards.errors')),
      data.more > 0 && h('p', { key: 'more' }, `${plural(data.more, 'rarer error')} left out.`),
      h(
        'p.pages',
        { key: 'times' },
        timesSwitch(() => app.draw()),
      ),
    ];
  }

  // Until it is put away.
  function watched() {
    function away() {
      done = null;
      app.draw();
    }
    return (
      done &&
      h(
        'p.done',
        { key: 'done', role: 'status' },
        h('span', outcome(done)),
        button('Put away', away, 'link'),
      )
    );
  }

  return {
    act: actOn,
    open({ queue }, same) {
      params = queue ? { queue } : {};
      if (!same) {
        data = null;
      }
    },
    // It looks at many jobs, so not with every poll.
    async poll(signal) {
      if (data && Date.now() - askedAt < ASK_MS) {
        return;
      }
      data = await call('GET', `/dlq/errors?${query(params)}`, undefined, signal);
      askedAt = Date.now();
    },
    draw() {
      return [watched(), params.queue && ofQueue(params.queue), list()];
    },
  };
}

const ofGroup = ({ kind, type, error }) => ({ kind, type, error });
const keyOf = ({ kind, type, error }) => `${kind} ${type} ${error}`;

// What errors say that are alike, and of which type they are.
const said = ({ type, error, latest }) => [
  h('span.message', { title: latest.message }, breakable(error || 'without a message')),
  h('small', ` ${type}`),
];

const last = ({ job_id, at }) => [moment(at), ' ', jobLink(job_id)];

const summed = (groups) =>
  groups.reduce((sum, { minutes }) => sum.map((n, at) => n + minutes[at]), Array(60).fill(0));

// How many failed in each minute of the last hour.
function spark(minutes) {
  const most = Math.max(...minutes);
  const total = minutes.reduce((sum, n) => sum + n, 0);
  const label = `${number(total)} in the last hour, up to ${number(most)} a minute`;
  const step = WIDTH / minutes.length;
  const bars = minutes.map((n, at) => {
    const height = n && Math.max(LEAST, (HEIGHT * n) / most);
    return n > 0 && svg('rect', { x: at * step, y: HEIGHT - height, width: step, height });
  });
  const frame = { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, width: WIDTH, height: HEIGHT };
  const ground = svg('line', { x1: 0, x2: WIDTH, y1: HEIGHT, y2: HEIGHT });
  return svg(
    'svg.spark.failed',
    { ...frame, role: 'img', label },
    svg('title', label),
    ground,
    bars,
  );
}

function ofQueue(queue) {
  const all = h('a', { href: '#/dead' }, 'Show all queues');
  return h('p', { key: 'queue' }, `Of the queue ${queue}. `, all);
}
