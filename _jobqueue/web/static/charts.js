// The last hour as SVG: a tooltip for pointer and arrow keys, a table for screen readers.
import { h, svg } from './dom.js';
import { number, span } from './words.js';

const HEIGHT = 168;
const TOP = 12;
const FLOOR = 148;
const LEFT = 52;
const OUTSIDE = -9;
const LABEL_MINUTES = 15;

function clockOf(at) {
  return new Date(at).toLocaleTimeString([], {
    hour: '2-digit',
    minute: '2-digit',
    hourCycle: 'h23',
  });
}

const clamp = (low, value, high) => Math.min(Math.max(low, value), high);

// `rows` are minutes; of one, `columns` say [what, its class, its text]; `ticks` are [y, text];
// `draw` gets x of a minute, and its width.
function chart({ title, rows, columns, width, ticks, draw }) {
  const step = (width - LEFT - 4) / rows.length;
  const xOf = (at) => LEFT + at * step;
  const grid = ticks.map(([y, text]) => [
    svg('line', { x1: LEFT, x2: width, y1: y, y2: y }),
    svg('text.left', { x: LEFT - 8, y: y + 4 }, text),
  ]);
  const guide = svg('line.guide', { y1: TOP, y2: FLOOR, x1: OUTSIDE, x2: OUTSIDE });
  const picture = svg(
    'svg',
    {
      viewBox: `0 0 ${width} ${HEIGHT}`,
      width,
      height: HEIGHT,
      role: 'img',
      tabindex: 0,
      label: `${title}, last hour: the arrow keys go through the minutes`,
      ...pointing({ rows, columns, width, step, xOf }),
    },
    grid,
    draw(xOf, step),
    rows.map((row, at) => timeLabel(row, xOf(at), width)),
    guide,
  );
  return h(
    'figure.panel.chart',
    { key: title },
    h('figcaption', h('h2', title), legend(columns)),
    h('div.plot', picture, h('div.tip', { hidden: true })),
    h('div.unseen', asTable(title, rows, columns)),
  );
}

function timeLabel(row, middle, width) {
  if (new Date(row.at).getMinutes() % LABEL_MINUTES) {
    return '';
  }
  const x = Math.min(Math.max(middle, LEFT + 14), width - 18);
  return svg('text', { x, y: HEIGHT - 4 }, clockOf(row.at));
}

function legend(columns) {
  const isFirst = ([, kind], at) => columns.findIndex((each) => each[1] === kind) === at;
  const shown = columns.filter((column, at) => column[1] && isFirst(column, at));
  return h(
    'p.legend',
    shown.map(([what, kind]) => h('span', h(`i.${kind}`), what.replace('p95', 'p50 to p95'))),
  );
}

function asTable(title, rows, columns) {
  const heads = ['Minute', ...columns.map(([what]) => what)];
  const row = (minute) =>
    h(
      'tr',
      h('th', { scope: 'row' }, clockOf(minute.at)),
      columns.map(([, , text]) => h('td', text(minute))),
    );
  return h(
    'table',
    { label: title },
    h(
      'thead',
      h(
        'tr',
        heads.map((text) => h('th', { scope: 'col' }, text)),
      ),
    ),
    h('tbody', rows.map(row)),
  );
}

// What shows the tooltip of a minute. What is on the page may be older than this drawing of it, so
// the elements come from the event.
function pointing({ rows, columns, width, step, xOf }) {
  function point(picture, at) {
    const row = rows[at];
    const tip = picture.nextSibling;
    const middle = row ? xOf(at) + step / 2 : OUTSIDE;
    picture.at = row && at;
    tip.hidden = !row;
    for (const end of ['x1', 'x2']) {
      picture.lastChild.setAttribute(end, middle);
    }
    if (!row) {
      return;
    }
    tip.replaceChildren(
      h('strong', clockOf(row.at)),
      ...columns.map(([what, kind, text]) => h('span', h(`i.${kind}`), what, h('b', text(row)))),
    );
    const left = clamp(0, middle - tip.offsetWidth / 2, width - tip.offsetWidth);
    tip.style.left = `${left}px`;
  }
  function onpointermove(event) {
    point(event.currentTarget, Math.floor((event.offsetX - LEFT) / step));
  }
  function onkeydown(event) {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by) {
      return;
    }
    event.preventDefault();
    const picture = event.currentTarget;
    point(picture, clamp(0, (picture.at ?? rows.length) + by, rows.length - 1));
  }
  const leave = (event) => point(event.currentTarget, -1);
  return { onpointermove, onpointerleave: leave, onblur: leave, onkeydown };
}

// --- finished per minute

export function finished(rows, width) {
  const half = halfOfScale(Math.max(2, ...rows.map((row) => row.done + row.failed)));
  const yOf = (n) => FLOOR - (n / (half * 2)) * (FLOOR - TOP);
  const columns = [
    ['done', 'done'],
    ['failed', 'failed'],
    ['retried', ''],
    ['submitted', ''],
  ].map(([name, kind]) => [name, kind, (row) => number(row[name])]);
  const ticks = [0, half, half * 2].map((n) => [yOf(n), number(n)]);
  function draw(xOf, step) {
    const thickness = step - (step > 5 ? 2 : 1);
    const block = (kind, at, low, n) =>
      n > 0 &&
      svg(`rect.${kind}`, {
        x: xOf(at),
        y: yOf(low + n),
        width: thickness,
        height: yOf(low) - yOf(low + n),
      });
    return rows.map(({ done, failed }, at) => [
      block('done', at, 0, done),
      block('failed', at, done, failed),
    ]);
  }
  return chart({ title: 'Finished per minute', rows, columns, width, ticks, draw });
}

// The least of 1, 2, 5, 10, 20, ... that is at least a half of `most`.
function halfOfScale(most) {
  const unit = 10 ** Math.floor(Math.log10(most / 2));
  return [1, 2, 5, 10].map((n) => n * unit).find((n) => n * 2 >= most);
}

// --- wait and run

const TICKS_MS = [1, 1000, 60000, 3600000, 86400000];
const WAIT_P95 = ['wait p95', 'wait', 'wait_p95_ms'];
const WAIT_P50 = ['wait p50', 'wait', 'wait_p50_ms'];
const RUN_P95 = ['run p95', 'ran', 'run_p95_ms'];
const RUN_P50 = ['run p50', 'ran', 'run_p50_ms'];
const OLDEST = ['oldest waiting', 'oldest', 'oldest_ms'];
const TIMED = [WAIT_P95, WAIT_P50, RUN_P95, RUN_P50, OLDEST];

// Logarithmic, since a wait of a millisecond and one of an hour both matter.
export function times(rows, width) {
  const most = Math.max(...rows.flatMap((row) => TIMED.map(([, , name]) => row[name])));
  const top = TICKS_MS.find((ms) => ms >= most && ms > 1000) ?? most;
  const yOf = (ms) => FLOOR - (Math.log(Math.max(1, ms)) / Math.log(top)) * (FLOOR - TOP);
  const ticks = TICKS_MS.filter((ms) => ms <= top).map((ms) => [yOf(ms), span(ms)]);
  const columns = TIMED.map(([what, kind, name]) => [what, kind, (row) => span(row[name])]);
  function draw(xOf, step) {
    const dot = (at, name) =>
      `${(xOf(at) + step / 2).toFixed(1)} ${yOf(rows[at][name]).toFixed(1)}`;
    const dots = (run, name) => run.map((at) => dot(at, name)).join('L');
    function line([, kind, name]) {
      const pieces = runs(rows, name).map((run) => `M${dots(run, name)}h2`);
      return svg(`path.line.${kind}`, { d: pieces.join('') });
    }
    function band([, kind, p95], [, , p50]) {
      const pieces = runs(rows, p50).map(
        (run) => `M${dots(run, p95)}L${dots(run.toReversed(), p50)}z`,
      );
      return svg(`path.band.${kind}`, { d: pieces.join('') });
    }
    return [band(WAIT_P95, WAIT_P50), band(RUN_P95, RUN_P50), TIMED.map(line)];
  }
  return chart({ title: 'Wait and run', rows, columns, width, ticks, draw });
}

// The minutes that have a value, by unbroken runs.
function runs(rows, name) {
  const all = [];
  rows.forEach((row, at) => {
    if (row[name] === null) {
      return;
    }
    if (all.at(-1)?.at(-1) === at - 1) {
      all.at(-1).push(at);
    } else {
      all.push([at]);
    }
  });
  return all;
}
