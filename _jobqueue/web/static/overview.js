// Everything at a glance: how many jobs, how fast; below, loaded once these are seen, how it has gone.
import { h } from './dom.js';
import { icon, link } from './parts.js';
import { number, span } from './words.js';

const HIGH_ERROR_RATE = 0.1;

export function overview(app) {
  let chosen = {};
  let below = null; // once it is loaded

  async function load() {
    const { centre } = await import('./centre.js');
    below = centre(app);
    below.open(chosen);
  }

  return {
    open(params) {
      chosen = params;
      below?.open(params);
    },
    async poll(signal) {
      if (!below) {
        await load();
        signal.throwIfAborted();
      }
      await below.poll(signal);
    },
    clear: () => below?.clear(),
    draw() {
      const { jobs, rates, queues } = app.stats;
      return [
        h('div.tiles', { key: 'jobs' }, Object.entries(jobs).map(statusTile)),
        h('div.tiles.rates', { key: 'rates' }, rateTiles(rates)),
        below ? below.draw() : queues.some((each) => each.totals.submitted) && soon(),
      ];
    },
  };
}

// The room of the chart, until it is there.
const soon = () => h('div.centre', { key: 'soon' }, h('div.panel.soon'), h('div.panel'));

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
