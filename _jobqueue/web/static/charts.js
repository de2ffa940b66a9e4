// The last hour as SVG: a tooltip for pointer and arrow keys, a table for screen readers.
import {h, number, span, svg} from './dom.js';

const HEIGHT = 168, TOP = 12, FLOOR = 148, LEFT = 52;
const clockOf = at => new Date(at).toLocaleTimeString([], {hour: '2-digit', minute: '2-digit', hourCycle: 'h23'});

// `rows` are minutes; of one, `columns` say [what, its class, its text]; ticks are [y, text].
function chart(title, rows, columns, width, ticks, draw) {
	const step = (width - LEFT - 4) / rows.length, x = at => LEFT + at * step;
	const grid = ticks.map(([y, text]) => [svg('line', {x1: LEFT, x2: width, y1: y, y2: y}), svg('text.left', {x: LEFT - 8, y: y + 4}, text)]);
	const times = rows.map((row, at) => new Date(row.at).getMinutes() % 15 ? '' : svg('text', {x: Math.min(Math.max(x(at), LEFT + 14), width - 18), y: HEIGHT - 4}, clockOf(row.at)));
	// What is on the page may be older than this drawing of it.
	function point(there, at) {
		const row = rows[at], tip = there.nextSibling, middle = row ? x(at) + step / 2 : -9;
		there.at = row && at;
		tip.hidden = !row;
		for (const end of ['x1', 'x2']) there.lastChild.setAttribute(end, middle);
		if (!row) return;
		tip.replaceChildren(h('strong', clockOf(row.at)), ...columns.map(([what, kind, text]) => h('span', h(`i.${kind}`), what, h('b', text(row)))));
		tip.style.left = `${Math.min(Math.max(0, middle - tip.offsetWidth / 2), width - tip.offsetWidth)}px`;
	}
	function onkeydown(event) {
		const by = {ArrowLeft: -1, ArrowRight: 1}[event.key], there = event.currentTarget;
		if (!by) return;
		event.preventDefault();
		point(there, Math.min(rows.length - 1, Math.max(0, (there.at ?? rows.length) + by)));
	}
	const leave = event => point(event.currentTarget, -1), legend = columns.filter(([, kind], at) => kind && columns.findIndex(each => each[1] === kind) === at);
	return h('figure.panel.chart', {key: title}, h('figcaption', h('h2', title), h('p.legend', legend.map(([what, kind]) => h('span', h(`i.${kind}`), what.replace('p95', 'p50 to p95'))))),
		h('div.plot', svg('svg', {
			viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, role: 'img', tabindex: 0, label: `${title}, last hour: the arrow keys go through the minutes`,
			onpointermove: event => point(event.currentTarget, Math.floor((event.offsetX - LEFT) / step)), onpointerleave: leave, onblur: leave, onkeydown,
		}, grid, draw(x, step), times, svg('line.guide', {y1: TOP, y2: FLOOR, x1: -9, x2: -9})), h('div.tip', {hidden: true})),
		h('div.unseen', h('table', {label: title}, h('thead', h('tr', ['Minute', ...columns.map(([what]) => what)].map(text => h('th', {scope: 'col'}, text)))),
			h('tbody', rows.map(row => h('tr', h('th', {scope: 'row'}, clockOf(row.at)), columns.map(([, , text]) => h('td', text(row)))))))));
}

export function finished(rows, width) {
	const most = Math.max(2, ...rows.map(row => row.done + row.failed)), unit = 10 ** Math.floor(Math.log10(most / 2));
	const half = [1, 2, 5, 10].map(n => n * unit).find(n => n * 2 >= most), y = n => FLOOR - n / (half * 2) * (FLOOR - TOP);
	const columns = ['done', 'failed', 'retried', 'submitted'].map((name, at) => [name, at < 2 ? name : '', row => number(row[name])]);
	return chart('Finished per minute', rows, columns, width, [0, half, half * 2].map(n => [y(n), number(n)]), (x, step) => {
		const block = (kind, at, low, n) => n > 0 && svg(`rect.${kind}`, {x: x(at), y: y(low + n), width: step - (step > 5 ? 2 : 1), height: y(low) - y(low + n)});
		return rows.map(({done, failed}, at) => [block('done', at, 0, done), block('failed', at, done, failed)]);
	});
}

const TICKS = [1, 1000, 60000, 3600000, 86400000];
const TIMED = [['wait p95', 'wait', 'wait_p95_ms'], ['wait p50', 'wait', 'wait_p50_ms'], ['run p95', 'ran', 'run_p95_ms'], ['run p50', 'ran', 'run_p50_ms'], ['oldest waiting', 'oldest', 'oldest_ms']];

// Logarithmic, since a wait of a millisecond and one of an hour both matter.
export function times(rows, width) {
	const most = Math.max(...rows.flatMap(row => TIMED.map(([, , name]) => row[name]))), top = TICKS.find(ms => ms >= most && ms > 1000) ?? most;
	const y = ms => FLOOR - Math.log(Math.max(1, ms)) / Math.log(top) * (FLOOR - TOP);
	const ticks = TICKS.filter(ms => ms <= top).map(ms => [y(ms), span(ms)]);
	return chart('Wait and run', rows, TIMED.map(([what, kind, name]) => [what, kind, row => span(row[name])]), width, ticks, (x, step) => {
		const dots = (run, name) => run.map(at => `${(x(at) + step / 2).toFixed(1)} ${y(rows[at][name]).toFixed(1)}`).join('L');
		const line = ([, kind, name]) => svg(`path.line.${kind}`, {d: runs(rows, name).map(run => `M${dots(run, name)}h2`).join('')});
		const band = ([, kind, p95], [, , p50]) => svg(`path.band.${kind}`, {d: runs(rows, p50).map(run => `M${dots(run, p95)}L${dots(run.toReversed(), p50)}z`).join('')});
		return [band(TIMED[0], TIMED[1]), band(TIMED[2], TIMED[3]), TIMED.map(line)];
	});
}

// The minutes that have a value, by unbroken runs.
function runs(rows, name) {
	const all = [];
	rows.forEach((row, at) => {
		if (row[name] === null) return;
		if (all.at(-1)?.at(-1) === at - 1) all.at(-1).push(at); else all.push([at]);
	});
	return all;
}
