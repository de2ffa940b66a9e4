// Overview below its counters: how it has gone, how long jobs wait, the queues; or a first lesson.
import { h, show } from './dom.js';
import { latency } from './latency.js';
import { lesson } from './lesson.js';
import { panel } from './parts.js';
import { queueTable } from './queues.js';
import { trend } from './trend.js';

const BESIDE = 900; // pixels that the chart and what stands beside it need
const LATENCY = 344; // its width, and the gap, as in chart.css
const LEAST = 280; // of a chart, also in a window that is not laid out

export function centre(app) {
  const chart = trend(app);
  const beside = h('div.beside');
  const both = h('div.centre', { key: 'centre' }, chart.section, beside);

  function drawBoth() {
    chart.draw(chartWidth());
    show(beside, latency([...app.stats.types]));
    return both;
  }

  return {
    open: chart.open,
    poll: chart.poll,
    clear: chart.clear,
    draw: () =>
      app.stats.queues.some((each) => each.totals.submitted)
        ? [drawBoth(), panel('queues', 'Queues', queueTable(app))]
        : lesson(app),
  };
}

function chartWidth() {
  const room = document.getElementById('main').clientWidth;
  return Math.max(LEAST, room >= BESIDE ? room - LATENCY : room);
}
