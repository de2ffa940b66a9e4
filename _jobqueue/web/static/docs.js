// Renders /openapi.json: at /redoc its schemas are laid out, else each call has a form that sends it.
import { h } from './dom.js';

const READING = {
  title: 'jobqueue API – reference',
  heading: 'API reference',
  other: ['/docs', 'Try the calls'],
};
const TRYING = {
  title: 'jobqueue API – try it',
  heading: 'Try the API',
  other: ['/redoc', 'Read the reference'],
};
const METHODS = ['get', 'post', 'put', 'delete'];

const isReading = location.pathname === '/redoc';
const page = isReading ? READING : TRYING;
let api; // the description

// --- reading the description

function resolve(part) {
  if (!part?.$ref) {
    return part;
  }
  const names = part.$ref.slice('#/'.length).split('/');
  return names.reduce((found, name) => found[name], api);
}

function typeOf(part) {
  const schema = resolve(part) ?? {};
  if (schema.enum) {
    return schema.enum.map((value) => JSON.stringify(value)).join(' | ');
  }
  const choices = schema.oneOf ?? schema.anyOf;
  if (choices) {
    return choices.map(typeOf).join(' or ');
  }
  const type = [schema.type ?? 'any'].flat().join(' or ');
  if (type === 'array') {
    return `array of ${typeOf(schema.items)}`;
  }
  return schema.format ? `${type} (${schema.format})` : type;
}

function limitsOf(part) {
  const schema = resolve(part) ?? {};
  const limits = [];
  if (schema.minimum !== undefined || schema.maximum !== undefined) {
    limits.push(`${schema.minimum ?? '…'} to ${schema.maximum ?? '…'}`);
  }
  if (schema.maxLength) {
    limits.push(`at most ${schema.maxLength} characters`);
  }
  if (schema.pattern) {
    limits.push(schema.pattern);
  }
  if (schema.default !== undefined) {
    limits.push(`default ${JSON.stringify(schema.default)}`);
  }
  return limits.join(', ');
}

const contentOf = (part) => resolve(part)?.content ?? {};
const parametersOf = (operation) => (operation.parameters ?? []).map(resolve);

// The example of the first type of content; undefined: there is none.
function exampleOf(content) {
  const [media] = Object.values(content);
  if (!media) {
    return undefined;
  }
  const [named] = Object.values(media.examples ?? {});
  return media.example ?? resolve(named)?.value ?? resolve(media.schema)?.example;
}

const asText = (value) => (typeof value === 'string' ? value : JSON.stringify(value, null, 2));
const code = (text) => h('pre', { tabindex: 0 }, text);
const rowsIn = (rows) => h('table', h('tbody', rows));

function row(name, schema, required, description) {
  const limits = limitsOf(schema);
  return h(
    'tr',
    h('th', { scope: 'row' }, h('code', name), required && h('small', ' required')),
    h('td.type', typeOf(schema)),
    h('td', description || resolve(schema)?.description, limits && h('small', ` ${limits}`)),
  );
}

// The properties of an object as a table; null: it has none.
function fields(part) {
  const { properties, required = [] } = resolve(part) ?? {};
  if (!properties) {
    return null;
  }
  const rows = Object.entries(properties).map(([name, schema]) =>
    row(name, schema, required.includes(name)),
  );
  return rowsIn(rows);
}

// --- a call, to be read

function reading(operation) {
  return [parameters(operation), bodies(operation), answers(operation)];
}

function parameters(operation) {
  const rows = parametersOf(operation).map((each) => {
    const description = `${each.description ?? ''} (${each.in})`;
    return row(each.name, each.schema, each.required, description);
  });
  return rows.length > 0 && [h('h4', 'Parameters'), rowsIn(rows)];
}

function bodies(operation) {
  return Object.entries(contentOf(operation.requestBody)).map(([type, media]) => {
    const example = exampleOf({ [type]: media });
    return [
      h('h4', `Body, ${type}`),
      fields(media.schema),
      example !== undefined && code(asText(example)),
    ];
  });
}

function answers(operation) {
  const responses = Object.entries(operation.responses);
  const rows = responses.map(([status, response]) =>
    h('tr', h('th', { scope: 'row' }, status), h('td', resolve(response).description)),
  );
  const [, good] = responses.find(([status]) => status.startsWith('2')) ?? [];
  const content = contentOf(good);
  const example = exampleOf(content);
  const answered = fields(Object.values(content)[0]?.schema);
  return [
    h('h4', 'Answers'),
    rowsIn(rows),
    example !== undefined && code(asText(example)),
    answered && [h('h4', 'Fields of the answer'), answered],
  ];
}

// --- a call, to be tried

function trying(method, path, operation) {
  const fields = parametersOf(operation).map(field);
  const content = contentOf(operation.requestBody);
  const [type] = Object.keys(content);
  const body = type && bodyField(exampleOf(content) ?? {});
  const answer = h('div.answer', { 'aria-live': 'polite' });

  async function onsubmit(event) {
    event.preventDefault();
    const { address, headers } = requestOf(path, fields);
    if (body) {
      headers['Content-Type'] = type;
    }
    answer.replaceChildren(h('p.state', 'Sending…'));
    const options = { method: method.toUpperCase(), headers, body: body?.value };
    answer.replaceChildren(...(await answerTo(address, options)));
  }

  const labels = fields.map((each) => each.label);
  return [h('form', { onsubmit }, labels, body, h('p', h('button', 'Send'))), answer];
}

function field(parameter) {
  const { name, required, schema } = parameter;
  const input = h('input', { name, required, placeholder: typeOf(schema) });
  const label = h('label', h('span', `${name}${required ? ' *' : ''}`), input);
  return { name, place: parameter.in, input, label };
}

function bodyField(example) {
  return h('textarea', { spellcheck: 'false', label: 'Body' }, asText(example));
}

// Address and headers as the fields say.
function requestOf(path, fields) {
  const query = new URLSearchParams();
  const headers = {};
  let address = path;
  for (const { name, place, input } of fields.filter((each) => each.input.value)) {
    if (place === 'path') {
      address = address.replace(`{${name}}`, encodeURIComponent(input.value));
    } else if (place === 'query') {
      query.set(name, input.value);
    } else if (place === 'header') {
      headers[name] = input.value;
    }
  }
  const key = document.getElementById('key').value;
  if (key) {
    headers.Authorization = `Bearer ${key}`;
  }
  return { address: query.size ? `${address}?${query}` : address, headers };
}

async function answerTo(address, options) {
  const began = performance.now();
  try {
    const reply = await fetch(address, options);
    const text = await reply.text();
    const ms = Math.round(performance.now() - began);
    const status = `${reply.status} ${reply.statusText}`;
    return [
      h('p', h(reply.ok ? 'strong.good' : 'strong.bad', status), ` in ${ms} ms`),
      code(indented(text) || '(empty)'),
    ];
  } catch (error) {
    return [h('p', h('strong.bad', 'No answer'), `: ${error.message}`)];
  }
}

// JSON with line breaks, anything else as it is.
function indented(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

// --- the page

function callsIn(paths) {
  return Object.entries(paths).flatMap(([path, item]) =>
    Object.entries(item)
      .filter(([method]) => METHODS.includes(method))
      .map(([method, operation]) => ({ method, path, operation })),
  );
}

const methodTag = (method) => h(`span.method.${method}`, method.toUpperCase());

function card({ method, path, operation }) {
  const parts = isReading ? reading(operation) : trying(method, path, operation);
  return h(
    'article',
    { id: operation.operationId },
    h('h3', methodTag(method), h('code', path), h('small', operation.summary)),
    h('div', operation.description && h('p', operation.description), parts),
  );
}

function entry({ method, path, operation }) {
  const properties = { href: `#${operation.operationId}`, title: operation.summary };
  return h('a', properties, methodTag(method), h('span', path));
}

function keyField() {
  return h(
    'div.key',
    h('label', { for: 'key' }, 'API key, where one is needed'),
    h('input', { id: 'key', type: 'password', autocomplete: 'off' }),
  );
}

function draw() {
  const calls = callsIn(api.paths);
  const tags = api.tags.map((tag) => ({
    ...tag,
    calls: calls.filter((each) => each.operation.tags.includes(tag.name)),
  }));
  const [href, title] = page.other;
  const navigation = [
    h('h1', api.info.title),
    h('p', `Version ${api.info.version} · `, h('a', { href }, title)),
    ...tags.flatMap((tag) => [h('h2', tag.name), ...tag.calls.map(entry)]),
  ];
  const introduction = h('p', api.info.description);
  const content = [
    h('header', h('h1', page.heading), introduction, !isReading && keyField()),
    ...tags.map((tag) =>
      h('section', h('h2', tag.name), h('p.state', tag.description), tag.calls.map(card)),
    ),
  ];
  document.title = page.title;
  document.querySelector('nav').replaceChildren(...navigation);
  document.querySelector('main').replaceChildren(...content);
  if (location.hash) {
    document.getElementById(location.hash.slice(1))?.scrollIntoView();
  }
}

async function start() {
  try {
    const reply = await fetch('/openapi.json');
    api = await reply.json();
    draw();
  } catch (error) {
    const sentence = `The description could not be read: ${error.message}`;
    document.querySelector('main').replaceChildren(h('p.state', { role: 'alert' }, sentence));
  }
}

start();
