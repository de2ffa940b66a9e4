// A call on the page: folded to a line; open, its form, its samples, what it answers.
import { copy } from './dialogs.js';
import { h } from './dom.js';
import { addressOf, exact, formOf } from './docs-form.js';
import { SAMPLES } from './docs-samples.js';
import { resolve, tree } from './docs-schema.js';
import { apiKey } from './key.js';
import { button, pre } from './parts.js';

const CHOSEN = 'jobqueue-sample'; // of the samples, remembered for all calls
const OPENED = 'sampled';

export const methodTag = (method) => h(`span.method.${method}`, method.toUpperCase());

// What a key must be allowed to do; '': it takes no key.
export function scopeOf({ security }) {
  const scopes = (security ?? []).flatMap((each) => each.key ?? []);
  return scopes.join(' or ');
}

export function card(call) {
  const { method, path, operation } = call;
  const { operationId: name, summary } = operation;
  const inside = h('div.call');
  const scope = scopeOf(operation);
  const line = h(
    'summary',
    methodTag(method),
    h('h3', h('code', path)),
    h('span.what', summary),
    scope &&
      h('span.scope', { title: `Needs a key with the scope ${scope}, where keys are set` }, scope),
  );
  const details = h('details', line, inside);
  details.ontoggle = () => {
    if (details.open && !inside.childElementCount) {
      fill(inside, call);
    }
  };
  return h(
    'article',
    { id: name },
    details,
    h('a.anchor', { href: `#${name}`, label: `Link to: ${summary}` }, '#'),
  );
}

function fill(inside, call) {
  const sample = sampleOf(() => form.request());
  const form = formOf(call, sample.follow);
  const answer = h('div.answer', { 'aria-live': 'polite' });
  form.element.onsubmit = async (event) => {
    event.preventDefault();
    answer.replaceChildren(h('p.soft', 'Sending…'));
    answer.replaceChildren(...(await answerTo(form.request())));
  };
  const send = h('button.primary.send', { form: form.element.id }, 'Send');
  inside.append(
    form.element,
    h('div.trying', sample.element, h('p.actions', send), answer),
    answersOf(call.operation),
  );
  sample.follow();
}

// --- samples that follow the form

function sampleOf(request) {
  const tabs = h('div.tabs', { role: 'group', label: 'Sample' });
  const box = h('div');
  let text = '';

  function follow() {
    const texts = Object.entries(SAMPLES)
      .map(([name, make]) => [name, make(request(), Boolean(apiKey()))])
      .filter(([, made]) => made);
    const chosen = localStorage.getItem(CHOSEN);
    const [name, made] = texts.find(([each]) => each === chosen) ?? texts[0];
    text = made;
    const focused = tabs.contains(document.activeElement) && document.activeElement.textContent;
    tabs.replaceChildren(...texts.map(([each]) => tab(each, each === name)), copyButton());
    [...tabs.children].find((each) => each.textContent === focused)?.focus();
    box.replaceChildren(pre(`Sample, ${name}`, text));
  }

  function tab(name, isChosen) {
    const onclick = () => {
      localStorage.setItem(CHOSEN, name);
      dispatchEvent(new Event(OPENED)); // all calls show the same
    };
    return button(name, onclick, 'quiet', { 'aria-pressed': String(isChosen) });
  }

  const copyButton = () => button('Copy', () => copy(text, 'The sample'), 'quiet');
  addEventListener(OPENED, follow);
  return { element: h('div.sample', tabs, box), follow };
}

// Samples say whether they need a key.
export const keyChanged = () => dispatchEvent(new Event(OPENED));

// --- what it answers

async function answerTo(request) {
  const headers = { ...request.headers };
  if (apiKey()) {
    headers.Authorization = `Bearer ${apiKey()}`;
  }
  const began = performance.now();
  try {
    const body = request.text || undefined;
    const reply = await fetch(addressOf(request), { method: request.method, headers, body });
    const text = await reply.text();
    const ms = Math.round(performance.now() - began);
    const kind = reply.ok ? 'good' : 'bad';
    return [
      h('p', h(`strong.${kind}`, `${reply.status} ${reply.statusText}`), ` in ${ms} ms`),
      pre('The answer', indented(text) || '(empty)'),
    ];
  } catch (error) {
    return [h('p', h('strong.bad', 'No answer'), `: ${error.message}`)];
  }
}

// JSON with line breaks, anything else as it is; numbers keep all their digits.
function indented(text) {
  try {
    return JSON.stringify(JSON.parse(text, exact), null, 2);
  } catch {
    return text;
  }
}

// --- what it may answer, by status

function answersOf({ responses }) {
  const lines = Object.entries(responses).map(([status, part]) =>
    answerLine(status, resolve(part)),
  );
  return h('div.answers', h('h4', 'Answers'), lines);
}

function answerLine(status, { description, content }) {
  const line = [h(`code.${status < 400 ? 'good' : 'bad'}`, status), h('span', description)];
  if (!content) {
    return h('div.status-line', line);
  }
  const inside = h('div');
  const ontoggle = () => inside.childElementCount || inside.append(...contents(content));
  return h('details.status-line', { ontoggle }, h('summary', line), inside);
}

function contents(content) {
  return Object.entries(content)
    .flatMap(([type, media]) => [
      h('p.limits', h('code', type)),
      ...[tree(media.schema ?? {})].flat(),
    ])
    .flat()
    .filter(Boolean);
}
