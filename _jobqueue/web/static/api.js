// Calls to the API, with a key where one is needed.
import {agree, button, dialog, h, input, number, plural} from './dom.js';

const KEY = 'jobqueue-key', TIMEOUT_MS = 15000;
let asking = null;

export class Problem extends Error {
	constructor(detail, status) {
		super(detail);
		this.status = status;
	}
}

// Whole numbers that JavaScript would round stay as they were written.
const exact = (_, value, context) => Number.isInteger(value) && !Number.isSafeInteger(value) && JSON.rawJSON ? JSON.rawJSON(context.source) : value;

// A body that is a string is JSON already. Throws a Problem, in words for people.
export async function call(method, path, body, signal = new AbortController().signal) {
	const key = sessionStorage.getItem(KEY), headers = {...key && {Authorization: `Bearer ${key}`}, ...body && {'Content-Type': 'application/json'}};
	let reply, answer;
	try {
		reply = await fetch(path, {method, headers, body: typeof body === 'object' ? JSON.stringify(body) : body, signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)])});
		const text = await reply.text();
		answer = text.startsWith('{') ? JSON.parse(text, exact) : null;
	} catch (error) {
		throw signal.aborted ? error : new Problem('The API does not answer', 0);
	}
	if (reply.ok) return answer;
	if (reply.status === 401) {
		if (key === sessionStorage.getItem(KEY)) await ask(key);
		return call(method, path, body, signal);
	}
	const said = answer?.errors?.map(each => `${each.pointer.slice(1)} ${each.detail}`).join('; ') || answer?.detail || reply.statusText;
	throw new Problem(said, reply.status);
}

// One dialog for all calls. Who gives up is not asked again before he wants to be.
function ask(refused) {
	asking ??= new Promise((resolve, reject) => {
		const field = input({type: 'password', required: true});
		const el = dialog(refused ? 'That key was not accepted' : 'An API key is needed', h('p', 'It is kept until this tab is closed. Looking needs the scope read, submitting submit, the rest admin.'),
			h('form', {onsubmit: event => {event.preventDefault(); sessionStorage.setItem(KEY, field.value.trim()); el.close('given');}},
				h('label', h('span', 'API key'), field), h('p.actions', button('Not now', () => el.close()), h('button.primary', 'Use this key'))));
		el.addEventListener('close', () => {
			if (el.returnValue !== 'given') return reject(new Problem('An API key is needed: System has a button for it', 401));
			asking = null;
			resolve();
		});
		field.focus();
	});
	return asking;
}

export function forgetKey() {
	asking = null;
	sessionStorage.removeItem(KEY);
}

// --- many jobs at once

const WORDS = {retry: ['Retry', 'retried'], run: ['Run now', 'made due'], cancel: ['Cancel', 'cancelled'], delete: ['Delete', 'deleted']};
export const verb = action => WORDS[action][0];

// Counts, asks, acts; `target` is {ids} or {filter}. Says what became of it: '' when nothing was done.
export async function bulk(action, target, what) {
	const found = target.ids ? {changed: target.ids.length, left: ''} : await steps(action, target, true, `Counting ${what}`);
	if (found.stopped) return '';
	if (!found.changed) return `Nothing to ${action}${found.left}`;
	const deletes = action === 'delete', destroys = deletes || action === 'cancel', word = (deletes || destroys && !target.ids) && String(found.changed);
	if ((destroys || !target.ids) && !await agree(`${verb(action)} ${plural(found.changed, 'job')}?`, `${what}${found.left}.${deletes ? ' This cannot be undone.' : ''}`, verb(action), destroys, word)) return '';
	const done = await steps(action, target, false, `${verb(action)}: ${what}`, found.changed);
	return `${number(done.changed)} ${WORDS[action][1]}${done.left}${done.stopped ? ', then stopped' : ''}`;
}

// Repeats the call until it is through, under a dialog that can stop it.
async function steps(action, {ids, filter}, dry_run, title, max) {
	const skipped = {}, count = h('strong', '0'), meter = h('progress', {max, label: title});
	let changed = 0, stopped = false, through = false, cursor, box;
	const later = setTimeout(() => { // a quick one needs no dialog
		box = dialog(title, h('p', {role: 'status'}, count, ' jobs'), meter, h('p.actions', button('Stop', () => box.close())));
		box.addEventListener('close', () => {stopped = !through;});
	}, 300);
	try {
		while (!stopped && !through) {
			const part = ids ? {ids: ids.splice(0, 1000)} : cursor ? {filter, cursor} : {filter};
			const answer = await call('POST', '/jobs/bulk', {action, ...part, dry_run});
			changed += answer.changed;
			for (const [why, n] of Object.entries(answer.skipped)) skipped[why] = (skipped[why] ?? 0) + n;
			count.textContent = number(changed);
			if (max) meter.value = changed;
			cursor = answer.next_cursor;
			through = ids ? !ids.length : !cursor;
		}
	} finally {
		through = true;
		clearTimeout(later);
		box?.close();
	}
	return {changed, stopped, left: Object.entries(skipped).map(([why, n]) => `; ${number(n)} left alone (${why.replace('_', ' ')})`).join('')};
}
