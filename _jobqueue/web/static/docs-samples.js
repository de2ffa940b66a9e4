// A request as code: for the shell, for Python's requests, and for JobQueue where that has the same.
import { addressOf } from './docs-form.js';
import { LIBRARY } from './docs-library.js';
import { python, pythonCall } from './docs-python.js';

// Each gives the text for a request, or '' where there is none.
export const SAMPLES = { curl, Python: requests, JobQueue: library };

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function curl(request, hasKey) {
  const { method, headers, text } = request;
  const parts = [
    `curl ${method === 'GET' ? '' : `-X ${method} `}${quoted(location.origin + addressOf(request))}`,
  ];
  if (hasKey) {
    parts.push('-H "Authorization: Bearer $JOBQUEUE_KEY"');
  }
  for (const [name, value] of Object.entries(headers)) {
    parts.push(`-H ${quoted(`${name}: ${value}`)}`);
  }
  if (text) {
    parts.push(`--data-raw ${quoted(text)}`);
  }
  return parts.join(' \\\n  ');
}

function requests({ method, address, query, headers: given, text, body, isJson }, hasKey) {
  const headers = { ...given };
  const sendsJson = isJson && body !== undefined;
  if (sendsJson) {
    delete headers['Content-Type']; // `json` sets it
  }
  const lines = Object.entries(headers).map(([name, value]) => `${python(name)}: ${python(value)}`);
  if (hasKey) {
    lines.unshift('"Authorization": f"Bearer {os.environ[\'JOBQUEUE_KEY\']}"');
  }
  const has = (value) => Object.keys(value).length > 0;
  const options = [
    python(location.origin + address),
    has(query) && `params=${python(query)}`,
    lines.length > 0 && `headers={${lines.join(', ')}}`,
    sendsJson && `json=${python(body)}`,
    text && !sendsJson && `data=${python(text)}`,
    'timeout=30',
  ];
  return [
    hasKey && 'import os\n',
    'import requests\n',
    `answer = ${pythonCall(`requests.${method.toLowerCase()}`, options)}`,
    'print(answer.status_code, answer.text)',
  ]
    .filter(Boolean)
    .join('\n');
}

function library(request) {
  const made = LIBRARY[request.name]?.(request);
  if (!made) {
    return '';
  }
  const { names = [], lines } = made;
  return [
    'import os\n',
    `from jobqueue import ${['JobQueue', ...names].join(', ')}\n`,
    'jobs = JobQueue(os.environ["REDIS_URL"])',
    ...lines,
  ].join('\n');
}
