// The chart of times: how long jobs wait and run.
import { chart, FLOOR, runs, TOP } from './chart.js';
import { svg } from './dom.js';
import { span } from './words.js';

const TICKS_MS = [1, 1000, 60000, 3600000, 86400000];
const WAIT_P95 = ['wait p95', 'wait', 'wait_p95_ms'];
const WAIT_P50 = ['wait p50', 'wait', 'wait_p50_ms'];
const RUN_P95 = ['run p95', 'ran', 'run_p95_ms'];
const RUN_P50 = ['run p50', 'ran', 'run_p50_ms'];
const OLDEST = ['oldest waiting', 'oldest', 'oldest_ms'];
const TIMED = [WAIT_P95, WAIT_P50, RUN_P95, RUN_P50, OLDEST];

// Logarithmic, since a wait of a millisecond and one of an hour both matter.
export function durations(what) {
  const { rows } = what;
  const most = Math.max(...rows.flatMap((row) => TIMED.map(([, , name]) => row[name])));
  const top = TICKS_MS.find((ms) => ms >= most && ms > 1000) ?? most;
  const yOf = (ms) => FLOOR - (Math.log(Math.max(1, ms)) / Math.log(top)) * (FLOOR - TOP);
  const ticks = TICKS_MS.filter((ms) => ms <= top).map((ms) => [yOf(ms), span(ms)]);
  const columns = TIMED.map(([name, kind, field]) => [name, kind, (row) => span(row[field])]);
  const legend = columns.map(([name, ...rest]) => [name.replace('p95', 'p50 to p95'), ...rest]);
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
  return chart({ ...what, columns, legend, ticks, draw });
}
