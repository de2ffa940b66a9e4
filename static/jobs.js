// Two views: the list of jobs with its filters and selection, and one job.
import {bulk, call, verb} from './api.js';
import {agree, bar, button, copy, curl, dialog, editor, empty, facts, h, icon, input, jobLink, link, loading, number, panel, pre, query, show, span, status, toast, when} from './dom.js';

const STATUSES = ['queued', 'scheduled', 'processing', 'done', 'failed', 'cancelled'], FILTERS = ['status', 'type', 'queue', 'tag', 'kind'];
const FROM = {retry: ['failed', 'cancelled'], run: ['scheduled'], cancel: ['queued', 'scheduled', 'processing'], delete: STATUSES.filter(name => name !== 'processing')};
const PAGE = 50, PREVIEW = 160;
const pretty = value => JSON.stringify(value, null, 2);
const between = (from, to) => span(Math.max(0, Date.parse(to) - Date.parse(from)));
const reason = ({kind, message}) => message.startsWith(`${kind}:`) ? message : `${kind}: ${message}`;

function detail({status, errors, progress, started_at, finished_at, run_at, position}) {
	const failure = errors.length > 0 && reason(errors.at(-1)), so = failure && ` · ${failure}`;
	return {
		processing: () => [progress && bar(progress.fraction, 1, 'Progress'), progress?.note || 'running', ' · ', when(started_at, 'since')], scheduled: () => [failure ? 'again ' : 'due ', when(run_at), so],
		queued: () => [position && `position ${number(position)}`, so], failed: () => failure, done: () => `ran ${between(started_at, finished_at)}`,
	}[status]?.();
}

export function jobs(app) {
	let params = {}, data = null, last = '', all = false;
	const picked = new Map(); // id -> its status then
	const to = changes => link('jobs', {...params, cursor: '', from: '', ...changes});
	const inputs = ['type', 'queue', 'tag'].map(name => input({name, list: `known-${name}`, onchange: event => app.go(to({[name]: event.target.value.trim()}))}));
	const filters = h('div.filters', {key: 'filters'}, inputs.map(each => h('label', each.name, each)));

	function pick(on, chosen) {
		for (const each of chosen) if (on) picked.set(each.job_id, each.status); else picked.delete(each.job_id);
		all = false;
		const resumes = app.selected && !picked.size;
		app.selected = picked.size;
		app.draw();
		if (resumes) app.refresh(); else app.pace();
	}
	function pickOne(event, job) { // with Shift, from the last one
		const ids = data.jobs.map(each => each.job_id), [from, at] = [ids.indexOf(last), ids.indexOf(job.job_id)].sort((a, b) => a - b);
		last = job.job_id;
		pick(event.target.checked, event.shiftKey && from >= 0 ? data.jobs.slice(from, at + 1) : [job]);
	}
	const box = (label, checked, onclick) => h('td.check', h('label', h('input', {type: 'checkbox', label, checked, onclick})));
	const row = job => h('tr', {key: job.job_id, class: picked.has(job.job_id) && 'chosen'}, box(`Select ${job.type} ${job.job_id.slice(0, 8)}`, picked.has(job.job_id), event => pickOne(event, job)),
		h('td.state', status(job.status)), h('td.what', jobLink(job.job_id, job.type), h('div.preview', job.tags.map(tag => h('span.tag', tag)), h('code', (job.payload_preview ?? JSON.stringify(job.payload)).slice(0, PREVIEW)))),
		h('td.detail', h('div.message', detail(job))), h('td.queue', job.queue, job.priority !== 5 && h('small', ` priority ${job.priority}`)), h('td.n.tries', `${job.attempts}/${job.max_attempts}`), h('td.n.age', when(job.finished_at ?? job.created_at)));

	async function act(action, id) {
		const filter = Object.fromEntries(FILTERS.filter(name => params[name]).map(name => [name, params[name]])), ids = picked.size ? [...picked.keys()] : id ? [id] : [];
		if (!ids.length) return;
		const said = await bulk(action, all ? {filter} : {ids}, all ? Object.entries(filter).flat().join(' ') : ids.length > 1 ? 'the selected jobs' : `job ${ids[0].slice(0, 8)}`);
		if (!said) return;
		toast(said);
		if (!view.clear()) app.refresh();
	}
	function selection() {
		const statuses = !all ? [...picked.values()] : params.status ? [params.status] : STATUSES, every = `all ${data?.total ? number(data.total) : ''} that match`;
		const more = data && !all && picked.size >= data.jobs.length && (data.next_cursor || params.cursor) && FILTERS.some(name => params[name]);
		return picked.size > 0 && h('section.selection', {label: 'Selection', key: 'selection'}, h('strong', `${all ? every : number(picked.size)} selected`), more && button(`Select ${every}`, () => {all = true; app.draw();}, 'link', {key: 'all'}),
			h('span.actions', {key: 'actions'}, Object.keys(FROM).filter(action => FROM[action].some(each => statuses.includes(each))).map(action => button(verb(action), () => act(action), action, {key: action})), button('Clear', () => view.clear(), 'quiet')));
	}
	function list() {
		const {jobs, total, next_cursor} = data, from = +params.from || 0, next = next_cursor && h('a', {href: to({cursor: next_cursor, from: from + jobs.length})}, jobs.length ? 'Next page' : 'Look further');
		if (!jobs.length) return empty(data.said ?? (next ? 'None among those looked at' : 'No jobs here'), next || h('a', {href: '#/jobs'}, 'Show all'));
		return [h('section.panel', {key: 'list'}, h('table.jobs', {label: 'Jobs'},
			h('thead', h('tr', box('Select the page', jobs.every(each => picked.has(each.job_id)), event => pick(event.target.checked, jobs)), ['Status', 'Job', 'What happens', 'Queue', 'Attempts', 'When'].map((text, at) => h(at > 3 ? 'th.n' : 'th', {scope: 'col'}, text)))), h('tbody', jobs.map(row)))),
		h('nav.pages', {label: 'Pages', key: 'pages'}, `${number(from + 1)}–${number(from + jobs.length)}${total === null ? '' : ` of ${number(total)}`}`, params.cursor && h('a', {href: to({})}, 'First page'), next)];
	}
	const view = {
		act,
		open(next, same) {
			params = next;
			app.selected = same ? picked.size : 0;
			if (same) return;
			for (const each of inputs) each.value = params[each.name] ?? '';
			picked.clear();
			[data, all] = [null, false];
		},
		clear() { // true: there was any
			const some = picked.size > 0;
			picked.clear();
			if (some) pick(false, []);
			return some;
		},
		async poll(signal) {
			const answer = await call('GET', `/jobs?${query({...params, from: '', limit: PAGE})}`, undefined, signal).catch(error => {
				if (error.status !== 422) throw error;
				return {jobs: [], said: error.message};
			});
			if (!picked.size) data = answer;
		},
		draw() {
			const counts = FILTERS.slice(1).some(name => params[name]) ? {} : app.stats?.jobs ?? {}, shown = params.status ?? (params.kind ? 'failed' : '');
			return [h('nav.chips', {label: 'Status', key: 'chips'}, ['', ...STATUSES].map(name => h('a', {href: to({status: name, kind: ''}), 'aria-current': shown === name && 'true'}, name && icon(name), name || 'all', name in counts && h('span.count', number(counts[name])))),
				params.kind && h('a.tag', {href: to({kind: ''})}, `${params.kind} ×`)), filters, data ? list() : loading(), selection()];
		},
	};
	return view;
}

// --- one job

function steps({status: now, created_at, started_at, finished_at, run_at, worker, attempts, errors}) {
	const step = (name, title, at, ...more) => h('li', status(name, h('b', title)), at && when(at), h('span', more)), on = id => id && ` · worker ${id.slice(0, 8)}`;
	let before = created_at;
	const took = (from, ran) => [from >= before && `waited ${between(before, from)} · `, 'ran ', ran];
	const failures = errors.map(({attempt, started_at, at, worker, ...error}) => {
		const times = took(started_at, between(started_at, at));
		before = at;
		return step('failed', `Attempt ${attempt} failed`, at, times, on(worker), h('em', reason(error)));
	});
	if (attempts < 2 && run_at > before) before = run_at; // when it was due, or retried by hand
	return [step('queued', 'Submitted', created_at), failures, {
		processing: () => step(now, `Attempt ${attempts} is running`, started_at, took(started_at, when(started_at, 'since')), on(worker)),
		done: () => step(now, `Attempt ${attempts} done`, finished_at, took(started_at, between(started_at, finished_at)), on(worker)),
		cancelled: () => step(now, 'Cancelled', finished_at), scheduled: () => step(now, failures.length ? 'Next attempt' : 'Due', run_at), queued: () => step('scheduled', 'Waiting', null, when(before, 'since')),
	}[now]?.()];
}

export function job(app, id) {
	let found = null, missing = false;
	const path = `/jobs/${encodeURIComponent(id)}`;

	async function act(action) {
		if (!FROM[action].includes(found?.job.status)) return;
		const deletes = action === 'delete', asks = {delete: ['Delete this job?', 'It cannot be undone.', 'Delete'], cancel: ['Cancel this job?', 'If it runs, its handler is asked to stop.', 'Cancel the job']}[action];
		if (asks && !await agree(...asks, true)) return;
		await (deletes ? call('DELETE', path) : call('POST', `${path}/${action}`));
		if (deletes) app.go('#/jobs'); else app.refresh();
	}
	function retryAnew() {
		const {area, said, send} = editor('Payload', pretty(found.job.payload), 'Retry with this payload');
		const box = dialog('Retry with another payload', h('form', {onsubmit: async event => {
			event.preventDefault();
			await call('POST', `${path}/retry`, `{"payload":${area.value}}`);
			box.close();
			app.refresh();
		}}, area, said, h('p.actions', button('Close', () => box.close()), send)));
	}
	const text = (title, value, ...before) => panel(title, [title, button('Copy', () => copy(value, title), 'quiet', {label: `Copy ${title}`})], before, pre(title, value));
	return {
		act, polls: false, title: `Job ${id.slice(0, 8)}`,
		async poll(signal) {
			try {
				found = await call('GET', `${path}/explain`, undefined, signal);
			} catch (error) {
				if (error.status !== 404) throw error;
				[found, missing] = [null, true];
			}
		},
		draw() {
			if (!found) return missing ? empty('There is no such job', h('p', 'It was deleted or has expired. ', h('a', {href: '#/jobs'}, 'All jobs'))) : loading();
			const {job} = found, {type, queue, priority, payload, progress} = job, error = job.status !== 'done' && job.errors.at(-1);
			const does = (action, title, how = () => act(action)) => FROM[action].includes(job.status) && button(title, how, action, {key: title});
			return [h('section.lead', {key: 'lead'}, h('p.name', status(job.status), h('strong', type), h('code.id', job.job_id), button('Copy id', () => copy(job.job_id, 'Id'), 'quiet')),
				h('p.sentence', {role: 'status'}, found.explanation), job.status === 'processing' && progress && h('p', bar(progress.fraction, 1, 'Progress'), `${Math.round(progress.fraction * 100)} % ${progress.note}`),
				h('p.actions', {key: 'actions'}, does('retry', 'Retry'), does('retry', 'Retry with another payload…', retryAnew), does('run', 'Run now'), does('cancel', 'Cancel'),
					button('Copy as curl', () => copy(curl({type, queue, priority, payload}), 'Command'), 'plain', {key: 'curl'}), does('delete', 'Delete'))),
			panel('facts', '', facts([['Queue', h('a', {href: link('jobs', {queue})}, queue)], ['Priority', priority], ['Attempts', `${job.attempts} of ${job.max_attempts}`], ['Timeout', span(job.timeout_s * 1000)],
				['Created', when(job.created_at)], job.run_at && ['Due', when(job.run_at)], job.tags.length > 0 && ['Tags', job.tags.map(tag => h('a.tag', {href: link('jobs', {tag})}, tag))]])),
			error && (error.traceback ? text('Error', error.traceback, h('p.wrong', reason(error))) : panel('Error', 'Error', h('p.wrong', reason(error)))),
			panel('steps', 'What happened', h('ol.steps', steps(job))), job.log.length > 0 && text('Log', job.log.join('\n')), h('div.two', {key: 'data'}, text('Payload', pretty(payload)), job.status === 'done' && text('Result', pretty(job.result)))];
		},
	};
}
