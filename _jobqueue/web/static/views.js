// The other views: overview, dead letters, queues, workers, create, system.
import {bulk, call, forgetKey} from './api.js';
import {finished, times} from './charts.js';
import {bar, button, curl, editor, empty, facts, h, icon, input, jobLink, link, loading, number, panel, plural, pre, query, span, status, table, toast, when} from './dom.js';

const SAMPLE = {type: 'echo', payload: {hello: 'world'}};

function lesson(app) {
	const sample = async () => app.go(`#/jobs/${(await call('POST', '/jobs', SAMPLE)).job_id}`);
	return empty('No job has been submitted yet', h('p', 'Hand one over from a terminal and watch it here, or ', h('a', {href: '#/create'}, 'write one'), ':'), pre('Command', curl(SAMPLE)),
		h('p.actions', button('Submit a sample job', sample, 'primary')));
}

export function overview(app) {
	const tile = (name, value, bad, href) => h(`${href ? 'a' : 'div'}.tile${bad ? '.bad' : ''}`, {href}, h('span', href && icon(name), name), h('b', value));
	return {
		draw() {
			const {jobs, rates, minutes, queues} = app.stats, room = document.getElementById('main').clientWidth, width = room >= 800 ? (room - 16) / 2 - 34 : room - 34, {error_rate} = rates;
			return [h('div.tiles', {key: 'jobs'}, Object.entries(jobs).map(([name, n]) => tile(name, number(n), name === 'failed' && n, link('jobs', {status: name})))),
				h('div.tiles.rates', {key: 'rates'}, tile('finished per minute', number(rates.finished_per_minute)), tile('error rate', error_rate === null ? '–' : `${number(error_rate * 100)} %`, error_rate > 0.1), tile('p95 wait', span(rates.wait_p95_ms)), tile('p95 run', span(rates.run_p95_ms))),
				queues.some(each => each.totals.submitted) ? [h('div.two', {key: 'charts'}, finished(minutes, width), times(minutes, width)), panel('queues', 'Queues', queueTable(app))] : lesson(app)];
		},
	};
}

function queueTable(app, manage) {
	async function toggle({queue, paused}) {
		await call('POST', `/queues/${queue}/${paused ? 'resume' : 'pause'}`);
		app.refresh();
	}
	return table('Queues', ['Queue', '#Waiting', '#Running', '#Oldest', '#In / out a minute', '#Drained in', '#Dead letters', ...manage ? ['#Action'] : []], app.stats.queues.map(each => {
		const {queue, jobs, paused, oldest_age_s: oldest, drain_s} = each, does = paused ? 'Resume' : 'Pause';
		return [queue, [h('a', {href: link('jobs', {queue})}, h('strong', queue)), paused && status('paused')], [number(jobs.queued), jobs.scheduled > 0 && h('small', ` +${number(jobs.scheduled)} later`)], `${number(each.busy)} of ${number(each.threads)}`,
			oldest === null ? '–' : h(oldest > 60 ? 'b.late' : 'span', span(oldest * 1000)), `${number(each.submitted_per_minute)} / ${number(each.done_per_minute)}`,
			!jobs.queued ? 'empty' : drain_s === null ? 'not at this rate' : span(drain_s * 1000), jobs.failed ? h('a', {href: link('dead', {queue})}, number(jobs.failed)) : '0',
			...manage ? [button(does, () => toggle(each), 'plain', {label: `${does} ${queue}`})] : []];
	}));
}

export function queues(app) {
	return {draw: () => app.stats.queues.length ? panel('queues', '', queueTable(app, true)) : lesson(app)};
}

export function workers(app) {
	const card = each => {
		const name = `${each.queue} on ${each.host}:${each.pid}`, {running} = each;
		return panel(each.worker, [name, each.lost ? status('failed', 'beat lost') : status('done', 'alive')], h('p', bar(running.length, each.threads, `Busy threads of ${name}`), `${running.length} of ${plural(each.threads, 'thread')} busy`),
			facts([['Version', each.version], ['Last beat', when(each.last_beat_at)]]), h('p', each.types.map(type => h('a.tag', {href: link('jobs', {type})}, type))),
			running.length > 0 && table(`Running: ${name}`, ['Job', '#For'], running.map(run => [run.job_id, jobLink(run.job_id, run.type), span(run.for_s * 1000)]), 'plain'));
	};
	const none = empty('No worker is running', h('p', 'Start one:'), pre('Command', 'python worker.py'));
	return {draw: () => app.stats.workers.length ? h('div.grid', {key: 'grid'}, app.stats.workers.map(card)) : none};
}

export function dead(app) {
	let params = {}, kinds = null;
	async function act(action, kind) {
		const said = await bulk(action, {filter: {status: 'failed', kind, ...params}}, `dead letters of the kind ${kind}`);
		if (said) toast(said);
		app.refresh();
	}
	const does = (action, text, kind) => button(text, () => act(action, kind), action, {label: `${text} of ${kind}`});
	const row = ({kind, count, latest}) => [kind, h('a', {href: link('jobs', {...params, status: 'failed', kind})}, h('strong', kind)), number(count), [h('div.message', latest.message), h('small', `${latest.type} `, jobLink(latest.job_id), ' ', when(latest.at))],
		h('span.actions', does('retry', 'Retry all', kind), does('delete', 'Delete all', kind))];
	return {
		open({queue}, same) {
			params = queue ? {queue} : {};
			if (!same) kinds = null;
		},
		async poll(signal) {({kinds} = await call('GET', `/dlq/kinds?${query(params)}`, undefined, signal));},
		draw: () => [params.queue && h('p', `Of the queue ${params.queue}. `, h('a', {href: '#/dead'}, 'Show all queues')), !kinds ? loading() : kinds.length ? panel('kinds', '', table('Dead letters by kind of error', ['Kind', '#How many', 'Latest', '#Action'], kinds.map(row)))
			: empty('No dead letters', h('p', 'Jobs that fail for good come here.'))],
	};
}

const SAMPLES = {Echo: SAMPLE, 'A report': {type: 'report.generate', payload: {}}, 'A flaky e-mail': {type: 'send_email', payload: {fail_rate: 0.7}}, 'A dead letter': {type: 'TEST', payload: 'FAIL_NOW'}};
const FIELDS = [['type', 'Type', 'echo'], ['queue', 'Queue', 'default'], ['priority', 'Priority, 9 is first', '5', 'number'], ['delay_s', 'Delay, seconds', '0', 'number'],
	['max_attempts', 'Attempts at most', '', 'number'], ['timeout_s', 'Timeout, seconds', '', 'number'], ['unique_key', 'Unique key'], ['tags', 'Tags, by spaces']];

export function create(app) {
	const {area, said, send, check} = editor('Payload, JSON', '{"hello": "world"}', 'Submit');
	const inputs = FIELDS.map(([name, label, placeholder, type]) => input({name, label, placeholder, type, step: 'any', list: `known-${name}`}));
	const read = ({name, type, value}) => name === 'tags' ? value.trim().split(/\s+/) : type === 'number' ? +value : value.trim();
	const fields = () => Object.fromEntries(inputs.filter(each => each.value.trim()).map(each => [each.name, read(each)]));
	function take({payload, ...rest}) {
		for (const each of inputs) each.value = rest[each.name] ?? '';
		area.value = JSON.stringify(payload, null, 2);
		check();
	}
	async function onsubmit(event) {
		event.preventDefault();
		try { // the payload goes as it was typed
			const job = await call('POST', '/jobs', JSON.stringify({...fields(), payload: 0}).replace(/0}$/, () => `${area.value}}`));
			if (job.warning) toast(job.warning, 'error');
			app.go(`#/jobs/${job.job_id}`);
		} catch (error) {said.textContent = error.message;}
	}
	const el = h('form.panel', {onsubmit}, h('p.actions', 'Samples', Object.entries(SAMPLES).map(([name, job]) => button(name, () => take(job)))),
		h('div.fields', inputs.map((each, at) => h('label', h('span', FIELDS[at][1]), each))), h('label', h('span', 'Payload, JSON'), area), said,
		h('p.actions', send));
	return {draw: () => el};
}

const bytes = n => `${number((n ?? 0) / 2 ** 20)} MiB`;
const plain = value => String(value ?? '') || '–';

export function system(app) {
	let data = null, checking = '';
	const verdicts = {};
	async function check(queue) {
		checking = queue;
		app.draw();
		try {verdicts[queue] = await call('POST', `/queues/${queue}/check`);} finally {checking = ''; app.refresh();}
	}
	const verdict = ({queue, checked_at, problems}) => checking === queue ? 'checking…' : checked_at ? [problems ? status('failed', plural(problems, 'problem')) : status('done', 'all invariants hold'), ' ', when(checked_at)] : 'not checked yet';
	return {
		async poll(signal) {data = await call('GET', '/system', undefined, signal);},
		draw() {
			if (!data) return loading();
			const {redis, api, config} = data, limit = redis.maxmemory_bytes;
			return [h('div.two', {key: 'two'},
				panel('redis', 'Redis', facts([['Version', `${plain(redis.version)}, ${redis.kind}`], ['Memory', `${bytes(redis.used_memory_bytes)}${limit ? ` of ${bytes(limit)}` : ', no limit'}`], ['When full', plain(redis.maxmemory_policy)],
					['Append-only file', plain(redis.appendonly)], ['Synced', plain(redis.appendfsync)]]), redis.warnings.map(text => h('p.wrong', text))),
				panel('api', 'This API', facts([['Version', api.version], ['Python', api.python], ['Process', api.pid], ['Started', when(api.started_at)]]), h('p.actions', button('Use another API key', () => {forgetKey(); app.refresh();})))),
			panel('queues', 'Reaper and checker', table('Reaper and checker', ['Queue', 'Reaper ticked', 'Books', 'Checker', '#Action'], data.queues.map(each => [each.queue, h('strong', each.queue), each.reaper_at ? when(each.reaper_at) : 'never',
				each.balance ? `${number(each.balance)} missing` : 'balance', verdict(each), button('Check now', () => check(each.queue), 'plain', {disabled: Boolean(checking), label: `Check ${each.queue} now`})])),
			Object.entries(verdicts).map(([queue, {problems, more}]) => problems.concat(more ? `and ${number(more)} more` : []).map(text => h('p.wrong', `${queue}: ${text}`)))),
			panel('config', 'Configuration in effect', facts(Object.entries(config).map(([name, value]) => [name, plain(value)]), 'list'))];
		},
	};
}
