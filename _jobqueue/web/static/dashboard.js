// The frame: which view is shown, one poll at a time, health, keys.
import {call, Problem} from './api.js';
import {age, button, clock, dialog, facts, h, icon, loading, number, plural, query, show, status, toast} from './dom.js';
import {job, jobs} from './jobs.js';
import {create, dead, overview, queues, system, workers} from './views.js';

const SLOWEST_MS = 10000, STATS_MS = 10000, TELL_MS = 15000;
const VIEWS = {'': ['Overview', overview], jobs: ['Jobs', jobs], dead: ['Dead letters', dead], queues: ['Queues', queues], workers: ['Workers', workers], create: ['Create', create], system: ['System', system]};
const letter = name => VIEWS[name][0][0].toLowerCase();
const byId = name => document.getElementById(name), main = byId('main'), every = byId('every'), search = byId('search');
const app = {stats: null, selected: 0, go: hash => {location.hash = hash;}, refresh: () => poll(true), draw, pace};

// --- which view

const kept = {}; // views, as they were left
let view = {};

function route() {
	const [path, params = ''] = location.hash.replace(/^#\/?/, '').split('?'), [first, id] = path.split('/');
	const name = Object.hasOwn(VIEWS, first) ? first : '', again = view.name === name && view.id === id;
	if (!again) {
		Object.assign(view, {scroll: scrollY, focus: document.activeElement});
		view = id ? job(app, id) : kept[name] ??= VIEWS[name][1](app);
		view.el ??= h('div');
	}
	const same = view.params === params, title = view.title ?? VIEWS[name][0];
	Object.assign(view, {name, id, params});
	app.selected = 0;
	view.open?.(Object.fromEntries(new URLSearchParams(params)), same);
	if (!again) main.replaceChildren(view.el);
	document.body.dataset.view = name;
	document.title = `${title} · jobqueue`;
	show(byId('title'), title);
	draw();
	if (!again) {
		document.querySelector('nav [aria-current]').scrollIntoView({inline: 'center'});
		scrollTo(0, same ? view.scroll ?? 0 : 0);
		if (same && view.focus?.isConnected) view.focus.focus({preventScroll: true}); else if (asked) byId('title').focus({preventScroll: true});
	}
	poll(true);
}

function draw() {
	const {jobs = {}, queues = [], workers = []} = app.stats ?? {};
	const counts = {jobs: jobs.queued + jobs.processing, dead: jobs.failed, queues: queues.length, workers: workers.length};
	show(document.querySelector('nav'), Object.keys(VIEWS).map(name => h('a', {href: `#/${name}`, 'aria-current': view.name === name && 'page'}, VIEWS[name][0], counts[name] > 0 && h(`span.count.${name}`, number(counts[name])))));
	const choices = {type: workers.flatMap(each => each.types), queue: queues.map(each => each.queue)};
	for (const name in choices) show(byId(`known-${name}`), [...new Set(choices[name])].map(value => h('option', {value})));
	drawHealth();
	show(view.el, app.stats || view.id ? view.draw() : loading());
}

// --- one poll at a time

let timer, running = null, asked = false, failures = 0, failure = '', good_at = 0, stats_at = 0, told_at = 0;

async function poll(now) {
	if (running && !now) return;
	running?.abort();
	clearTimeout(timer);
	const mine = running = new AbortController(), polled = view, {signal} = mine;
	try {
		if (polled.polls !== false || Date.now() - stats_at > STATS_MS) {
			const stats = await call('GET', '/stats', undefined, signal);
			clock.learn(stats.now);
			[app.stats, stats_at] = [stats, Date.now()];
		}
		await polled.poll?.(signal);
		signal.throwIfAborted();
		[failures, failure, good_at] = [0, '', Date.now()];
	} catch (error) {
		if (signal.aborted) return;
		[failures, failure] = [failures + 1, error.message];
		if (!(error instanceof Problem)) console.error(error);
	}
	[running, asked] = [null, true];
	draw();
	tell();
	pace();
}

// What is selected must not move away under the hand that is about to act on it.
function pace() {
	clearTimeout(timer);
	beat();
	const wait = failures ? Math.min(SLOWEST_MS, Math.max(every.value * 1000, 1000 * 2 ** failures)) : app.selected ? 0 : every.value * 1000;
	if (wait && !document.hidden && !running) timer = setTimeout(poll, wait);
}

function beat() {
	const old = good_at ? `data ${age(good_at)} old` : 'connecting', late = failures || Date.now() - good_at > Math.max(5000, every.value * 3000);
	const [kind, text] = failures ? ['late', old] : app.selected ? ['paused', 'paused: rows are selected'] : !+every.value ? ['paused', old] : late ? ['late', old] : ['live', 'live'];
	Object.assign(byId('pulse'), {textContent: text, className: `pulse ${kind}`});
}
setInterval(beat, 1000);
every.value = localStorage.getItem('jobqueue-every') ?? '2';
every.onchange = () => {localStorage.setItem('jobqueue-every', every.value); poll(true);};
document.addEventListener('visibilitychange', () => document.hidden ? clearTimeout(timer) : poll(true));

// --- health

const FIX = {no_worker: 'workers', worker_lost: 'workers', paused: 'queues', dead_letters: 'dead?', no_handler: 'jobs?status=queued&', old_job: 'jobs?status=queued&'};

function drawHealth() {
	const rows = failure ? [{level: 'error', text: `${failure}. It is asked again until it answers.`}] : app.stats?.health ?? [];
	const page = ({code, queue}) => `#/${FIX[code] ?? 'system'}${FIX[code]?.match(/[?&]$/) && queue ? query({queue}) : ''}`;
	show(byId('health'), rows.length > 0 && h('ul', rows.map(row => h(`li.${row.level}`, {key: `${row.code} ${row.queue}`}, icon(row.level), h('a', {href: page(row)}, h('span.unseen', `${row.level}: `), row.text[0].toUpperCase() + row.text.slice(1))))),
		rows.length > 1 && h('a.more', {href: '#/'}, `${rows.length - 1} more`), app.stats && !rows.length && status('done', 'All clear'));
}

function tell() { // not more often than one can hear
	if (!app.stats || Date.now() - told_at < TELL_MS) return;
	show(byId('counts'), `${plural(app.stats.health.length, 'problem')}; `, Object.entries(app.stats.jobs).map(([name, n]) => `${number(n)} ${name}, `));
	told_at = Date.now();
}

// --- keys

const HELP = {'/': 'find a job, or a type', 'j k': 'next and previous row', Enter: 'open the row', x: 'select; with Shift all since the last one', 'r c Delete': 'retry, cancel, delete what is selected or shown', Esc: 'close, clear the selection, or go back'};
let went = 0;

function help() {
	const views = Object.keys(VIEWS).map(name => [`g ${letter(name)}`, VIEWS[name][0]]);
	const el = dialog('Keys', facts([...Object.entries(HELP), ...views].map(([keys, what]) => [keys.split(' ').map(key => h('kbd', key)), what]), 'list'), h('p.actions', button('Close', () => el.close(), 'primary')));
}

const row = () => document.activeElement.closest('tr[data-key]');
function move(by) {
	const links = [...main.querySelectorAll('tr[data-key] > :is(td:first-child, .what) > a')], at = links.findIndex(each => row()?.contains(each));
	links[at < 0 ? 0 : at + by]?.focus();
}

const act = action => () => view.act?.(action, row()?.dataset.key);
const KEYS = {
	'/': () => search.focus(), '?': help, j: () => move(1), k: () => move(-1), g: () => {went = Date.now();}, r: act('retry'), c: act('cancel'), Delete: act('delete'),
	x: ({shiftKey}) => row()?.querySelector('input')?.dispatchEvent(new MouseEvent('click', {shiftKey, cancelable: true})),
};

document.addEventListener('keydown', event => {
	const typing = event.target.matches('input:not([type=checkbox]), textarea, select');
	if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector('dialog')) return;
	if (event.key === 'Escape') {
		if (typing) event.target.blur(); else if (!view.clear?.() && view.id) kept.jobs ? history.back() : app.go('#/jobs');
	}
	const key = event.key.length > 1 ? event.key : event.key.toLowerCase(), target = Date.now() - went < 1500 ? Object.keys(VIEWS).find(name => letter(name) === key) : undefined;
	if (typing || target === undefined && !Object.hasOwn(KEYS, key)) return;
	event.preventDefault();
	went = 0;
	if (target === undefined) KEYS[key](event); else app.go(`#/${target}`);
});

// --- controls

search.form.onsubmit = event => {
	event.preventDefault();
	const text = search.value.trim();
	search.value = '';
	search.blur();
	app.go(/^[0-9a-f-]{36}$/i.test(text) ? `#/jobs/${text.toLowerCase()}` : `#/jobs?${query({type: text})}`);
};
byId('keys').onclick = help;
document.querySelector('.skip').onclick = event => {event.preventDefault(); main.focus();};
function theme(name) {
	document.documentElement.dataset.theme = name;
	localStorage.setItem('jobqueue-theme', name);
	show(byId('theme'), `Theme: ${name}`);
}
byId('theme').onclick = () => theme({auto: 'dark', dark: 'light', light: 'auto'}[document.documentElement.dataset.theme]);
theme(localStorage.getItem('jobqueue-theme') ?? 'auto');
addEventListener('hashchange', route);
addEventListener('resize', draw);
addEventListener('unhandledrejection', event => { // of what was asked for by hand
	if (!(event.reason instanceof Problem)) return;
	event.preventDefault();
	toast(event.reason.message, 'error');
});
route();
