// Calls to the API, with a key where one is needed. It needs little itself: a first visit waits for it.
import { apiKey, forgetKey } from './key.js';

const TIMEOUT_MS = 15000;
const FRESH_MS = 5000;

// What the page shows first is asked for while its other modules are still on their way.
const firstKey = apiKey();
const first = new Map(
  ['/stats', '/whoami'].map((path) => [path, fetch(path, { headers: keyHeader(firstKey) })]),
);
for (const answer of first.values()) {
  answer.catch(() => {}); // whoever takes it hears of it
}

// The answer to such a call, once; undefined: ask.
function early(path, key) {
  const answer = first.get(path);
  first.delete(path);
  return key === firstKey && performance.now() < FRESH_MS ? answer : undefined;
}

function keyHeader(key) {
  return key ? { Authorization: `Bearer ${key}` } : {};
}

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
    await askForKey(key);
    return call(method, path, body, signal);
  }
  throw new Problem(detailOf(answer) || reply.statusText, reply.status);
}

function send(method, path, body, key, signal) {
  const headers = keyHeader(key);
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
async function askForKey(refused) {
  const { givenKey } = await import('./account.js');
  if (refused !== apiKey()) {
    return; // another one has been given meanwhile
  }
  asking ??= givenKey(refused);
  if (!(await asking)) {
    throw new Problem('An API key is needed: System has a button for it', 401);
  }
  asking = null;
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
