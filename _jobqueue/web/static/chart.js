// A chart over time as SVG: a tooltip for pointer and arrow keys, a part that is chosen by dragging
// or with Shift, marks, a table for screen readers.
import { h, svg } from './dom.js';

export const TOP = 22;
export const FLOOR = 236;
const HEIGHT = 260;
const LEFT = 44;
const RIGHT = 44;
const OUTSIDE = -9;
const LABEL_PX = 84; // that a time on the axis needs
const LABEL_MINUTES = [1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440];
const DAY_MINUTES = 1440;
const MINUTE_MS = 60000;

export function clockOf(at) {
  return new Date(at).toLocaleTimeString([], {
    hour: '2-digit',
    minute: '2-digit',
    hourCycle: 'h23',
  });
}

// With the day, where rows are those of several.
const timeOf = (at, stepMs) => (stepMs > MINUTE_MS ? `${dayOf(at)}, ${clockOf(at)}` : clockOf(at));

export function dayOf(at) {
  return new Date(at).toLocaleDateString([], { weekday: 'short', day: 'numeric' });
}

const clamp = (low, value, high) => Math.min(Math.max(low, value), high);

// `rows` have `at`, each `stepMs` after the one before. Of one, `columns` say [what, its class, its
// text]. `ticks` are [y, text, true for those at the right]. `draw` gets x of a row, and its width.
// `marks` are [{at, text, by}]; `chose` is called with the first and the last row of a part.
export function chart(what) {
  const { title, rows, columns, width, stepMs, ticks, draw, marks, legend = columns } = what;
  const step = (width - LEFT - RIGHT) / rows.length;
  const xOf = (at) => LEFT + at * step;
  const place = { rows, columns, stepMs, step, xOf, width, marks: marksIn(rows, stepMs, marks) };
  const picture = svg(
    'svg',
    {
      viewBox: `0 0 ${width} ${HEIGHT}`,
      width,
      height: HEIGHT,
      role: 'group',
      tabindex: 0,
      label: `${title}. The arrow keys go through it, with Shift they choose a part, Enter shows it`,
      ...pointing(place, what.chose),
    },
    grid(ticks, width),
    draw(xOf, step),
    timeLabels(rows, xOf, step, width),
    place.marks.map((mark) => markLine(mark, place)),
    svg('rect.part', { y: TOP, height: FLOOR - TOP, x: OUTSIDE, width: 0 }),
    svg('line.guide', { y1: TOP, y2: FLOOR, x1: OUTSIDE, x2: OUTSIDE }),
  );
  return h(
    'figure.chart',
    { key: 'figure' },
    h('figcaption', legendOf(legend, what.each)),
    h('div.plot', picture, h('div.tip', { hidden: true })),
    h('div.unseen', asTable(title, place)),
  );
}

function grid(ticks, width) {
  return ticks.map(([y, text, isRight]) => [
    !isRight && svg('line', { x1: LEFT, x2: width - RIGHT, y1: y, y2: y }),
    isRight
      ? svg('text.right', { x: width - RIGHT + 8, y: y + 4 }, text)
      : svg('text.left', { x: LEFT - 8, y: y + 4 }, text),
  ]);
}

function timeLabels(rows, xOf, step, width) {
  const minutes =
    rows.length > 1 ? (Date.parse(rows[1].at) - Date.parse(rows[0].at)) / MINUTE_MS : 1;
  const apart = LABEL_MINUTES.find((n) => (n / minutes) * step >= LABEL_PX) ?? DAY_MINUTES;
  return rows.map(({ at }, index) => {
    const time = new Date(at);
    const minute = time.getHours() * 60 + time.getMinutes();
    const x = xOf(index);
    if (minute % apart || x > width - RIGHT - 10) {
      return '';
    }
    const isDay = minute === 0 && minutes > 1;
    return svg(
      'text',
      { x: Math.max(x, LEFT + 10), y: HEIGHT - 4 },
      isDay ? dayOf(at) : clockOf(at),
    );
  });
}

function legendOf(columns, each) {
  const isFirst = ([, kind], at) => columns.findIndex((each) => each[1] === kind) === at;
  const shown = columns.filter((column, at) => column[1] && isFirst(column, at));
  return h(
    'p.legend',
    shown.map(([what, kind]) => h('span', h(`i.${kind}`), what)),
    h('span', each),
  );
}

function asTable(title, { rows, columns, stepMs, marks }) {
  const heads = ['Time', ...columns.map(([what]) => what), ...(marks.length ? ['marks'] : [])];
  const said = (at) => marks.filter((mark) => mark.row === at).map(textOf);
  const row = (each, at) =>
    h(
      'tr',
      h('th', { scope: 'row' }, timeOf(each.at, stepMs)),
      columns.map(([, , text]) => h('td', text(each))),
      marks.length > 0 && h('td', said(at).join('; ')),
    );
  const head = (text) => h('th', { scope: 'col' }, text);
  return h(
    'table',
    { label: title },
    h('thead', h('tr', heads.map(head))),
    h('tbody', rows.map(row)),
  );
}

// --- marks

function marksIn(rows, stepMs, marks) {
  const first = Date.parse(rows[0]?.at);
  return marks
    .map((mark) => ({ ...mark, row: Math.floor((Date.parse(mark.at) - first) / stepMs) }))
    .filter(({ row }) => row >= 0 && row < rows.length);
}

const textOf = ({ text, by }) => (by ? `${text} (${by})` : text);

function markLine(mark, { xOf, step, ...place }) {
  const x = xOf(mark.row) + step / 2;
  const showAt = (row) => (event) => {
    const picture = event.currentTarget.closest('svg');
    pointTo(picture, { xOf, step, ...place }, row);
  };
  return svg(
    'g.mark',
    {
      role: 'img',
      tabindex: 0,
      label: `Mark at ${clockOf(mark.at)}: ${textOf(mark)}`,
      onfocus: showAt(mark.row),
      onblur: showAt(-1),
    },
    svg('line', { x1: x, x2: x, y1: TOP - 8, y2: FLOOR }),
    svg('path', { d: `M${x - 5} ${TOP - 16}h10v6l-5 6l-5 -6z` }),
  );
}

// --- the tooltip, and the part that is chosen

// What is on the page may be older than this drawing of it, so the elements come from the event.
function pointTo(picture, { rows, columns, marks, stepMs, step, xOf, width }, at) {
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
  const near = marks.filter((mark) => Math.abs(mark.row - at) * step <= 4);
  tip.replaceChildren(
    h('strong', timeOf(row.at, stepMs)),
    ...columns.map(([what, kind, text]) =>
      h('span', h(`i.${kind || 'none'}`), what, h('b', text(row))),
    ),
    ...near.map((mark) => h('p', textOf(mark))),
  );
  tip.style.left = `${clamp(0, middle - tip.offsetWidth / 2, width - tip.offsetWidth)}px`;
}

function shade(picture, { xOf, step }) {
  const part = picture.lastChild.previousSibling;
  const isChosen = picture.from !== undefined && picture.at !== undefined;
  const [first, last] = [picture.from, picture.at].sort((a, b) => a - b);
  part.setAttribute('x', isChosen ? xOf(first) : OUTSIDE);
  part.setAttribute('width', isChosen ? (last - first + 1) * step : 0);
}

function pointing(place, chose) {
  const last = place.rows.length - 1;
  const rowAt = (event) => {
    const x = event.clientX - event.currentTarget.getBoundingClientRect().left;
    return Math.floor((x - LEFT) / place.step);
  };
  function move(picture, at) {
    pointTo(picture, place, at);
    shade(picture, place);
  }
  function end(picture, isWanted) {
    const { from, at } = picture;
    picture.from = undefined;
    shade(picture, place);
    if (isWanted && from !== undefined && at !== undefined && from !== at) {
      chose(Math.min(from, at), Math.max(from, at));
    }
  }
  return {
    onpointermove(event) {
      const picture = event.currentTarget;
      const at = rowAt(event);
      move(picture, picture.from === undefined ? at : clamp(0, at, last));
    },
    onpointerdown(event) {
      const picture = event.currentTarget;
      if (event.button === 0) {
        picture.from = clamp(0, rowAt(event), last);
        picture.setPointerCapture(event.pointerId);
      }
    },
    onpointerup: (event) => end(event.currentTarget, true),
    onpointercancel: (event) => end(event.currentTarget, false), // the page is scrolled
    onpointerleave(event) {
      if (event.currentTarget.from === undefined) {
        move(event.currentTarget, -1);
      }
    },
    onblur(event) {
      end(event.currentTarget, false);
      move(event.currentTarget, -1);
    },
    onkeydown(event) {
      const picture = event.currentTarget;
      const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (event.key === 'Enter') {
        end(picture, true);
      }
      if (!by || event.target !== picture) {
        return;
      }
      event.preventDefault();
      const at = picture.at ?? last + 1;
      picture.from = event.shiftKey ? (picture.from ?? clamp(0, at, last)) : undefined;
      move(picture, clamp(0, at + by, last));
    },
  };
}

// The rows that have a value, by unbroken runs.
export function runs(rows, name) {
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
