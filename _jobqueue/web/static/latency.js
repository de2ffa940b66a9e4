// How long jobs wait and run, by type: p50 to p95 on one scale.
import { h, svg } from './dom.js';
import { link, panel } from './parts.js';
import { span } from './words.js';

const ROWS = 6;
const WIDTH = 88;

export function latency(types) {
  const timed = types.filter((each) => each.run_p95_ms !== null || each.wait_p95_ms !== null);
  const shown = timed.sort((a, b) => slowest(b) - slowest(a)).slice(0, ROWS);
  if (!shown.length) {
    return panel(
      'latency',
      'Wait and run by type',
      h('p.soft', 'Nothing has run in the last minutes.'),
    );
  }
  const most = Math.max(1000, ...shown.map(slowest));
  const more = timed.length - shown.length;
  return panel(
    'latency',
    ['Wait and run by type', h('small', 'p50 to p95, last minutes')],
    h(
      'table.latency',
      { label: 'Wait and run by type' },
      h(
        'thead',
        h(
          'tr',
          ['Type', 'Wait', 'Run'].map((text) => h('th', { scope: 'col' }, text)),
        ),
      ),
      h(
        'tbody',
        shown.map((each) => row(each, most)),
      ),
    ),
    more > 0 && h('p', h('a', { href: '#/types?sort=run' }, `${more} more`)),
  );
}

const slowest = ({ wait_p95_ms, run_p95_ms }) => Math.max(wait_p95_ms ?? 0, run_p95_ms ?? 0);

function row(each, most) {
  const { type, queue } = each;
  return h(
    'tr',
    { key: `${queue} ${type}` },
    h(
      'td',
      h('a', { href: link('', { queue, type, show: 'times' }), title: type }, type),
      h('small', queue),
    ),
    h('td', range('wait', each.wait_p50_ms, each.wait_p95_ms, most)),
    h('td', range('ran', each.run_p50_ms, each.run_p95_ms, most)),
  );
}

function range(kind, p50, p95, most) {
  if (p95 === null) {
    return '–';
  }
  const xOf = (ms) => 2 + (Math.log(Math.max(1, ms)) / Math.log(most)) * (WIDTH - 4);
  const bar = svg(
    'svg',
    { width: WIDTH, height: 6, viewBox: `0 0 ${WIDTH} 6`, 'aria-hidden': 'true' },
    svg('line', { x1: 0, x2: WIDTH, y1: 3, y2: 3 }),
    svg(`line.range.${kind}`, { x1: xOf(p50), x2: Math.max(xOf(p50) + 1, xOf(p95)), y1: 3, y2: 3 }),
  );
  return [h('span.length', fromTo(span(p50), span(p95))), bar];
}

// The unit once, where it is the same.
function fromTo(low, high) {
  const unit = / \S+$/;
  const isOne = low.split(' ').length === 2 && low.match(unit)[0] === high.match(unit)[0];
  return `${isOne ? low.replace(unit, '') : `${low} `}–${isOne ? '' : ' '}${high}`;
}
