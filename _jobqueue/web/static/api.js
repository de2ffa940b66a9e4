// Calls to the API, with a key where one is needed.
import { dialog } from './dialogs.js';
import { h } from './dom.js';
import { early } from './early.js';
import { apiKey, forgetKey, keepKey } from './key.js';
import { button, input } from './parts.js';

const TIMEOUT_MS = 15000;

export class Problem extends Error {
  constructor(detail, status) {
    super(detail);
    this.status = status;
  }
}

// A body that is a string is JSON already. Throws a Problem, in words for people.
export async function call(method, path, body, signal = new AbortController().signal) {
  const key = apiKey();
  let reply;
  let answer;
  try {
    reply = await send(method, path, body, key, signal);
    answer = parse(await reply.text());
  } catch (error) {
    throw signal.aborted ? error : new Problem('The API does not answer', 0);
  }
  if (reply.ok) {
    return answer;
  }
  if (reply.status === 401) {
    if (key === apiKey()) {
      await askForKey(key);
    }
    return call(method, path, body, signal);
  }
  throw new Problem(detailOf(answer) || reply.statusText, reply.status);
}

function send(method, path, body, key, signal) {
  const headers = {};
  if (key) {
    headers.Authorization = `Bearer ${key}`;
  }
  if (body) {
    headers['Content-Type'] = 'application/json';
  }
  const asked = method === 'GET' && early(path, key);
  return (
    asked ||
    fetch(path, {
      method,
      headers,
      body: typeof body === 'object' ? JSON.stringify(body) : body,
      signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]),
    })
  );
}

const parse = (text) => (text.startsWith('{') ? JSON.parse(text, exact) : null);

// Whole numbers that JavaScript would round stay as they were written.
function exact(_, value, context) {
  const isRounded = Number.isInteger(value) && !Number.isSafeInteger(value);
  return isRounded && JSON.rawJSON ? JSON.rawJSON(context.source) : value;
}

function detailOf(answer) {
  const fields = answer?.errors?.map(({ pointer, detail }) => `${pointer.slice(1)} ${detail}`);
  return fields?.join('; ') || answer?.detail;
}

// --- the key

let asking = null;

// One dialog for all calls. Whoever gives up is not asked again before the button in System.
function askForKey(refused) {
  asking ??= new Promise((resolve, reject) => {
    const field = input({ type: 'password', required: true });
    const forBrowser = input({ type: 'checkbox' });
    function onsubmit(event) {
      event.preventDefault();
      keepKey(field.value.trim(), forBrowser.checked);
      box.close('given');
    }
    const box = dialog(
      refused ? 'That key was not accepted' : 'An API key is needed',
      h('p', 'Looking needs the scope read, submitting submit, the rest admin.'),
      h(
        'form',
        { onsubmit },
        h('label', h('span', 'API key'), field),
        h(
          'label.choice',
          forBrowser,
          h('span', 'Keep it for this browser; else it is forgotten with this tab'),
        ),
        h(
          'p.actions',
          button('Not now', () => box.close()),
          h('button.primary', 'Use this key'),
        ),
      ),
    );
    box.addEventListener('close', () => {
      if (box.returnValue === 'given') {
        asking = null;
        resolve();
      } else {
        reject(new Problem('An API key is needed: System has a button for it', 401));
      }
    });
    field.focus();
  });
  return asking;
}

export function askAnew() {
  asking = null;
  forgetKey();
}

export function curl(body) {
  const key = apiKey() ? ' -H "Authorization: Bearer $JOBQUEUE_KEY"' : '';
  const json = JSON.stringify(body).replaceAll("'", "'\\''");
  return `curl -s ${location.origin}/jobs -H 'Content-Type: application/json'${key} -d '${json}'`;
}
