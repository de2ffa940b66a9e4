// The chart of jobs: those that come, end, fail and wait.
import { chart, FLOOR, runs, TOP } from './chart.js';
import { svg } from './dom.js';
import { compact, number } from './words.js';

const LEAST_PX = 2; // of what is there at all
const SPIKE = 4; // as high as what is usual: above that the scale ends
const USUAL = 0.95; // this share of the rows is not higher than usual
const FAILED = 0.12; // of the scale above: failures have at least this below
const BELOW = 0.45; // the part of the height that failures take at most
const LABEL_PX = 48; // between two numbers

const COLUMNS = [
  ['in', 'came', 'submitted'],
  ['done', 'done', 'done'],
  ['failed', 'failed', 'failed'],
  ['waiting', 'backlog', 'waiting'],
];

export function work(what) {
  const { rows } = what;
  const most = scaleOf(rows.flatMap((row) => [row.submitted, row.done]));
  const failures = rows.map((row) => row.failed);
  const mostFailed = Math.max(...failures) && Math.max(scaleOf(failures), FAILED * most);
  const height = FLOOR - TOP;
  const below = Math.min(BELOW * height, (height * mostFailed) / (most + mostFailed));
  const line = FLOOR - below; // where nothing is
  const up = (line - TOP) / most;
  const backlog = doubled(Math.max(1, ...rows.map((row) => row.waiting ?? 0)));
  const scales = { most, mostFailed, line, up, below, backlog };
  const ticks = [
    ...[0, most / 2, most].map((n) => [line - n * up, compact(n)]),
    [TOP, compact(backlog), true],
    [line - (line - TOP) / 2, compact(backlog / 2), true],
    ...(below > 14 ? [[FLOOR, compact(below / up)]] : []),
  ];
  const columns = COLUMNS.map(([name, kind, field]) => [name, kind, (row) => number(row[field])]);
  const legend = columns.map(([name, ...rest]) => [
    name === 'waiting' ? 'waiting (scale at the right)' : name,
    ...rest,
  ]);
  const draw = (xOf, step) => [
    area(rows, scales, xOf, step),
    bars(rows, scales, xOf, step),
    outline(rows, scales, xOf, step),
    arrivals(rows, scales, xOf, step),
    beyond(rows, scales, xOf, step),
  ];
  return chart({ ...what, columns, legend, ticks, draw });
}

// How far a scale goes: one spike does not flatten the rest.
function scaleOf(values) {
  const sorted = values.filter((n) => n > 0).sort((a, b) => a - b);
  const most = sorted.at(-1) ?? 1;
  const usual = sorted[Math.floor((sorted.length - 1) * USUAL)] ?? 1;
  return doubled(Math.max(2, most > SPIKE * usual ? usual * 1.5 : most));
}

// The least of 2, 4, 10, 20, 40, 100, ... that is at least `most`.
function doubled(most) {
  const unit = 10 ** Math.floor(Math.log10(most / 2));
  return 2 * [1, 2, 5, 10].map((n) => n * unit).find((n) => n * 2 >= most);
}

function bars(rows, { most, line, up, below }, xOf, step) {
  const gap = [5, 3].filter((least) => step > least).length; // none where bars are thin
  const width = step - gap;
  const block = (kind, at, y, height) =>
    svg(`rect.${kind}`, { x: xOf(at), y, width, height: Math.max(LEAST_PX, height) });
  return rows.map(({ done, failed }, at) => {
    const height = Math.min(done, most) * up;
    return [
      done > 0 && block('done', at, line - Math.max(LEAST_PX, height), height),
      failed > 0 && block('failed', at, line, Math.min(failed * up, below)),
    ];
  });
}

// In steps, without the row at hand, which is not over, and what is not known yet.
function arrivals(rows, { most, line, up }, xOf, step) {
  const y = ({ submitted }) => (line - Math.min(submitted, most) * up).toFixed(1);
  const known = rows.slice(0, -1).filter((row) => row.submitted !== null);
  const path = known.map((row, at) => `${at ? 'V' : `M${xOf(0)} `}${y(row)}h${step}`);
  return svg('path.line.came', { d: path.join('') });
}

// Of each unbroken run of rows: where it begins, and its steps.
function stepsOf(rows, { line, backlog }, xOf, step) {
  const y = ({ waiting }) => (line - (waiting / backlog) * (line - TOP)).toFixed(1);
  return runs(rows, 'waiting').map((run) => [
    xOf(run[0]).toFixed(1),
    y(rows[run[0]]),
    run.map((at) => `V${y(rows[at])}H${(xOf(at) + step).toFixed(1)}`).join(''),
  ]);
}

function area(rows, scales, xOf, step) {
  const { line } = scales;
  const path = stepsOf(rows, scales, xOf, step).map(
    ([x, , steps]) => `M${x} ${line}${steps}V${line}z`,
  );
  return svg('path.backlog', { d: path.join('') });
}

// Before the bars.
function outline(rows, scales, xOf, step) {
  const path = stepsOf(rows, scales, xOf, step).map(([x, y, steps]) => `M${x} ${y}${steps}`);
  return svg('path.line.waits', { d: path.join('') });
}

// What is above the scale has a mark, and its number.
function beyond(rows, { most, mostFailed, line, up, below }, xOf, step) {
  let labelled = -LABEL_PX;
  return rows.map(({ submitted, done, failed }, at) => {
    const x = xOf(at) + step / 2;
    const high = Math.max(submitted, done);
    const isBelow = high <= most && failed * up > below + 1 && failed > mostFailed;
    if ((high <= most && !isBelow) || x - labelled < LABEL_PX) {
      return '';
    }
    labelled = x;
    const y = isBelow ? line + below : TOP;
    return [
      svg('path.beyond', {
        d: isBelow ? `M${x - 4} ${y - 5}h8l-4 5z` : `M${x - 4} ${y + 5}h8l-4 -5z`,
      }),
      svg(
        at > rows.length - 4 ? 'text.beyond.left' : 'text.beyond',
        { x, y: isBelow ? y - 8 : y + 18 },
        compact(isBelow ? failed : high),
      ),
    ];
  });
}
