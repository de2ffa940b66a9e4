// Elements, changed in place: a view is drawn anew in memory, and what differs is carried over to the page.
const ON = ['onclick', 'onchange', 'oninput', 'onkeydown', 'onpointermove', 'onpointerleave', 'onblur'];
const NAMES = {key: 'data-key', label: 'aria-label'};
const none = value => value === null || value === undefined;
const wanted = child => !none(child) && child !== false && child !== '';

// h('td.n', {title: 'x'}, 'text', h('b', 'bold')): strings become text, never HTML.
export const h = (tag, ...rest) => build(name => document.createElement(name), tag, rest);
export const svg = (tag, ...rest) => build(name => document.createElementNS('http://www.w3.org/2000/svg', name), tag, rest);

function build(make, tag, rest) {
	const [name, ...classes] = tag.split('.'), el = make(name);
	if (classes.length) el.setAttribute('class', classes.join(' '));
	for (const [key, value] of Object.entries(rest[0]?.constructor === Object ? rest.shift() : {})) {
		if (key.startsWith('on') || key === 'checked' || key === 'value' && name === 'textarea') el[key] = value;
		else if (wanted(value)) el.setAttribute(NAMES[key] ?? key, value === true ? '' : value);
	}
	el.append(...rest.flat(3).filter(wanted));
	return el;
}

const keyOf = node => node.dataset?.key;

// Make the inside of `parent` look like `fresh`. What has the same key stays the same element: focus and scroll with it.
export function show(parent, ...fresh) {
	fresh = fresh.flat(3).filter(wanted).map(child => typeof child === 'object' ? child : document.createTextNode(child));
	const keys = new Set(fresh.map(keyOf)), there = new Map(), focus = document.activeElement;
	for (const child of [...parent.childNodes].filter(keyOf)) {
		if (keys.has(keyOf(child))) there.set(keyOf(child), child); else child.remove();
	}
	let at = parent.firstChild;
	for (const child of fresh) {
		const match = keyOf(child) ? there.get(keyOf(child)) : at && !keyOf(at) && at.nodeName === child.nodeName && at;
		if (match && match === at) at = at.nextSibling; else parent.insertBefore(match || child, at);
		if (match) carry(match, child);
	}
	while (at) {const next = at.nextSibling; at.remove(); at = next;}
	if (focus !== document.activeElement && focus.isConnected) focus.focus({preventScroll: true});
}

function carry(old, fresh) {
	if (old === fresh) return;
	if (old.nodeType !== 1) {if (old.data !== fresh.data) old.data = fresh.data; return;}
	for (const {name} of [...old.attributes]) if (!fresh.hasAttribute(name) && name !== 'style') old.removeAttribute(name);
	for (const {name, value} of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
	for (const name of ON) old[name] = fresh[name];
	if (old.nodeName === 'INPUT') old.checked = fresh.checked;
	show(old, [...fresh.childNodes]);
}

// --- words for numbers and times

const whole = new Intl.NumberFormat('en');
export const number = n => none(n) ? '–' : whole.format(n < 10 ? Math.round(n * 10) / 10 : Math.round(n));
export const plural = (n, one) => `${number(n)} ${one}${n === 1 ? '' : 's'}`;

export function span(ms) {
	if (none(ms)) return '–';
	const s = ms / 1000;
	if (s < 10) return s < 1 ? `${number(ms)} ms` : `${number(s)} s`;
	const parts = [[s / 86400, 'd'], [s / 3600 % 24, 'h'], [s / 60 % 60, 'min'], [s % 60, 's']].map(([n, unit]) => [Math.floor(n), unit]);
	const first = parts.findIndex(([n]) => n);
	return parts.slice(first, first + 2).filter(([n]) => n).flat().join(' ');
}

const seconds = ms => ms < 1000 ? '0 s' : span(ms - ms % 1000);
export const age = since => seconds(Date.now() - since);

// Times are Redis's; this machine's clock may be ahead.
export const clock = {ahead: 0, learn: at => {clock.ahead = Date.now() - Date.parse(at);}};

// A time that ticks: "3 s ago", "in 5 min", or how long since.
export const when = (at, how = 'ago') => at ? h('time', {datetime: at, 'data-how': how, title: new Date(at).toLocaleString()}, told(at, how)) : '–';

function told(at, how) {
	const ms = Date.now() - clock.ahead - Date.parse(at), length = seconds(Math.abs(ms));
	if (how === 'since') return ms < 0 ? '0 s' : length;
	return length === '0 s' ? 'now' : ms < 0 ? `in ${length}` : `${length.split(' ', 2).join(' ')} ago`;
}

setInterval(() => {
	for (const el of document.hidden ? [] : document.querySelectorAll('time')) show(el, told(el.dateTime, el.dataset.how));
}, 1000);

// --- parts of views

const RING = 'M8 2.5a5.5 5.5 0 1 0 .01 0z';
const SHAPES = {
	queued: RING, scheduled: `${RING}M8 5v3.2l2.2 1.3`, processing: 'M5 3.2l7 4.8-7 4.8z', done: 'M3 8.5l3.2 3.2L13 4.8', failed: 'M4 4l8 8M12 4l-8 8', cancelled: `${RING}M4.2 11.8l7.6-7.6`,
	error: 'M8 2.2l6.2 11.3H1.8zM8 6.5v3.2M8 11.4v.3', warning: `${RING}M8 5v3.5M8 10.6v.3`, paused: 'M5.5 4v8M10.5 4v8',
};
export const icon = name => svg(`svg.icon.${name}`, {viewBox: '0 0 16 16', 'aria-hidden': 'true'}, svg('path', {d: SHAPES[name]}));
export const status = (name, text = name) => h(`span.status.${name}`, icon(name), text);
export const button = (text, onclick, kind = 'plain', props) => h(`button.${kind}`, {type: 'button', onclick, ...props}, text);
export const input = props => h('input', {autocomplete: 'off', ...props});
export const pre = (label, text) => h('pre', {tabindex: 0, role: 'region', label}, text);
export const bar = (value, max, label) => h('progress', {value, max, label});
export const query = params => new URLSearchParams(Object.entries(params).filter(([, value]) => value));
export const link = (view, params) => `#/${view}?${query(params)}`;
export const jobLink = (id, type) => h('a', {href: `#/jobs/${id}`}, type && h('strong', type), h('code.id', {title: id}, id.slice(0, 8)));
export const facts = (rows, kind = 'facts') => h(`dl.${kind}`, rows.filter(Boolean).map(([name, value]) => h('div', h('dt', name), h('dd', value))));
export const empty = (title, ...more) => h('section.empty', {key: title}, h('h2', title), more);
export const loading = () => h('p.empty', 'Loading…');
export const panel = (key, title, ...inside) => h('section.panel', {key}, title && h('header', [title].flat().map((part, at) => at ? part : h('h2', part))), inside);

// A row is its key and its cells; # marks a column of numbers.
export function table(label, heads, rows, kind = 'cards') {
	const names = heads.map(head => head.replace('#', '')), n = at => heads[at] === names[at] ? '' : '.n';
	return h(`table.${kind}`, {label}, h('thead', h('tr', names.map((name, at) => h(`th${n(at)}`, {scope: 'col'}, name)))),
		h('tbody', rows.map(([key, ...cells]) => h('tr', {key}, cells.map((cell, at) => h(`td${n(at)}`, {'data-label': at ? names[at] : ''}, at ? h('div', cell) : cell))))));
}

export function toast(text, level = 'info') {
	const el = h(`p.${level}`, text);
	document.getElementById('toasts').append(el);
	setTimeout(() => el.remove(), 8000);
}

export async function copy(text, what) {
	try {
		await navigator.clipboard.writeText(text);
	} catch {
		const area = h('textarea', {value: text});
		document.body.append(area);
		area.select();
		document.execCommand('copy');
		area.remove();
	}
	toast(`${what} copied`);
}

export function dialog(title, ...body) {
	const el = h('dialog', {label: title}, h('h2', title), body);
	el.onclose = () => el.remove();
	document.body.append(el);
	el.showModal();
	return el;
}

// True when the person agrees, having typed the word if there is one.
export function agree(title, text, ok, danger, word) {
	return new Promise(resolve => {
		const yes = h(`button.${danger ? 'danger' : 'primary'}`, {disabled: Boolean(word)}, ok);
		const typed = word && input({oninput: () => {yes.disabled = typed.value.replaceAll(',', '') !== word;}});
		const el = dialog(title, h('p', text), h('form', {onsubmit: event => {event.preventDefault(); el.close('yes');}},
			typed && h('label', h('span', `Type ${word} to confirm`), typed), h('p.actions', button('Leave it', () => el.close()), yes)));
		el.addEventListener('close', () => resolve(el.returnValue === 'yes'));
		(typed || yes).focus();
	});
}

// A field for JSON, what is wrong with it, and a button that waits until nothing is.
export function editor(label, text, ok) {
	const said = h('p.wrong', {role: 'status'}), send = h('button.primary', ok);
	const area = h('textarea', {rows: 10, label, value: text, oninput: () => check()});
	function check() {
		said.textContent = '';
		try {JSON.parse(area.value);} catch (error) {said.textContent = error.message;}
		return !(send.disabled = Boolean(said.textContent));
	}
	return {area, said, send, check};
}

export function curl(body) {
	const key = sessionStorage.getItem('jobqueue-key') ? ' -H "Authorization: Bearer $JOBQUEUE_KEY"' : '';
	return `curl -s ${location.origin}/jobs -H 'Content-Type: application/json'${key} -d '${JSON.stringify(body).replaceAll("'", "'\\''")}'`;
}
