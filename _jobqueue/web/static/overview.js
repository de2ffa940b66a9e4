// Everything at a glance: how many jobs, how fast, how it has gone, the queues.
import { h, show } from './dom.js';
import { latency } from './latency.js';
import { lesson } from './lesson.js';
import { icon, link, panel } from './parts.js';
import { queueTable } from './queues.js';
import { trend } from './trend.js';
import { number, span } from './words.js';

const BESIDE = 900; // pixels that the chart and what stands beside it need
const LATENCY = 344; // its width, and the gap, as in chart.css
const LEAST = 280; // of a chart, also in a window that is not laid out
const HIGH_ERROR_RATE = 0.1;

export function overview(app) {
  const chart = trend(app);
  const beside = h('div.beside');
  const centre = h('div.centre', { key: 'centre' }, chart.section, beside);

  function drawCentre() {
    const { types } = app.stats;
    chart.draw(chartWidth());
    show(beside, latency([...types]));
    return centre;
  }

  return {
    open: chart.open,
    poll: chart.poll,
    clear: chart.clear,
    draw() {
      const { jobs, rates, queues } = app.stats;
      return [
        h('div.tiles', { key: 'jobs' }, Object.entries(jobs).map(statusTile)),
        h('div.tiles.rates', { key: 'rates' }, rateTiles(rates)),
        queues.some((each) => each.totals.submitted)
          ? [drawCentre(), panel('queues', 'Queues', queueTable(app))]
          : lesson(app),
      ];
    },
  };
}

function chartWidth() {
  const room = document.getElementById('main').clientWidth;
  return Math.max(LEAST, room >= BESIDE ? room - LATENCY : room);
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
