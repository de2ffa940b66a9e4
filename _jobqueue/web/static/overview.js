// Everything at a glance: how many jobs, how fast, the last hour, the queues.
import { finished, times } from './charts.js';
import { h } from './dom.js';
import { lesson } from './lesson.js';
import { icon, link, panel } from './parts.js';
import { queueTable } from './queues.js';
import { number, span } from './words.js';

const TWO_CHARTS = 800; // pixels that two charts beside each other need
const GAP = 16;
const FRAME = 34; // the border and padding of a chart's panel
const LEAST = 120; // of a chart, also in a window that is not laid out
const HIGH_ERROR_RATE = 0.1;

export function overview(app) {
  return {
    draw() {
      const { jobs, rates, minutes, queues } = app.stats;
      const width = chartWidth();
      return [
        h('div.tiles', { key: 'jobs' }, Object.entries(jobs).map(statusTile)),
        h('div.tiles.rates', { key: 'rates' }, rateTiles(rates)),
        queues.some((each) => each.totals.submitted)
          ? [
              h('div.two', { key: 'charts' }, finished(minutes, width), times(minutes, width)),
              panel('queues', 'Queues', queueTable(app)),
            ]
          : lesson(app),
      ];
    },
  };
}

function chartWidth() {
  const room = document.getElementById('main').clientWidth;
  return Math.max(LEAST, (room >= TWO_CHARTS ? (room - GAP) / 2 : room) - FRAME);
}

function statusTile([name, n]) {
  const bad = name === 'failed' && n ? '.bad' : '';
  const href = link('jobs', { status: name });
  return h(`a.tile${bad}`, { href }, h('span', icon(name), name), h('b', number(n)));
}

function rateTiles({ finished_per_minute, error_rate, wait_p95_ms, run_p95_ms }) {
  const tile = (name, value, bad = '') => h(`div.tile${bad}`, h('span', name), h('b', value));
  const errors = error_rate === null ? '–' : `${number(error_rate * 100)} %`;
  return [
    tile('finished per minute', number(finished_per_minute)),
    tile('error rate', errors, error_rate > HIGH_ERROR_RATE ? '.bad' : ''),
    tile('p95 wait', span(wait_p95_ms)),
    tile('p95 run', span(run_p95_ms)),
  ];
}
