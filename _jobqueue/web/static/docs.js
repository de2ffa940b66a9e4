// Renders /openapi.json: with data-mode="try" each call has a form that sends it, with "read" its schemas are laid out.
'use strict';
const trying = document.body.dataset.mode === 'try';
let api;

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter(child => child !== undefined && child !== null));
  return element;
}

function resolve(part) {
  return part && part.$ref ? part.$ref.slice(2).split('/').reduce((at, name) => at[name], api) : part;
}

function typeOf(raw) {
  const schema = resolve(raw) || {};
  if (schema.enum) return schema.enum.map(value => JSON.stringify(value)).join(' | ');
  const any = schema.oneOf || schema.anyOf;
  if (any) return any.map(typeOf).join(' or ');
  const type = [].concat(schema.type || 'any').join(' or ');
  return type === 'array' ? `array of ${typeOf(schema.items)}` : type + (schema.format ? ` (${schema.format})` : '');
}

function limitsOf(raw) {
  const schema = resolve(raw) || {};
  const said = [];
  if (schema.minimum !== undefined || schema.maximum !== undefined) said.push(`${schema.minimum ?? '…'} to ${schema.maximum ?? '…'}`);
  if (schema.maxLength) said.push(`at most ${schema.maxLength} characters`);
  if (schema.pattern) said.push(schema.pattern);
  if (schema.default !== undefined) said.push(`default ${JSON.stringify(schema.default)}`);
  return said.join(', ');
}

function row(name, schema, required, description) {
  const limits = limitsOf(schema);
  return make('tr', {},
    make('th', { scope: 'row' }, make('code', {}, name), required ? make('small', {}, ' required') : ''),
    make('td', { class: 'type' }, typeOf(schema)),
    make('td', {}, description || (resolve(schema) || {}).description || '', limits ? make('small', {}, ` ${limits}`) : ''));
}

function fields(raw) {
  const schema = resolve(raw);
  if (!schema || !schema.properties) return undefined;
  const rows = Object.entries(schema.properties).map(([name, part]) => row(name, part, (schema.required || []).includes(name)));
  return make('table', {}, make('tbody', {}, ...rows));
}

function exampleOf(content) {
  const media = content && Object.values(content)[0];
  if (!media) return undefined;
  const examples = media.examples && Object.values(media.examples).map(each => resolve(each).value);
  return media.example ?? (examples && examples[0]) ?? (resolve(media.schema) || {}).example;
}

function shown(value) {
  return typeof value === 'string' ? value : JSON.stringify(value, null, 2);
}

function reading(operation) {
  const parts = [];
  if (operation.parameters && operation.parameters.length) {
    const rows = operation.parameters.map(resolve).map(each => row(each.name, each.schema, each.required, `${each.description || ''} (${each.in})`));
    parts.push(make('h4', {}, 'Parameters'), make('table', {}, make('tbody', {}, ...rows)));
  }
  const content = (resolve(operation.requestBody) || {}).content;
  for (const [type, media] of Object.entries(content || {})) {
    parts.push(make('h4', {}, `Body, ${type}`), fields(media.schema));
    const example = exampleOf({ [type]: media });
    if (example !== undefined) parts.push(make('pre', { tabindex: 0 }, shown(example)));
  }
  parts.push(make('h4', {}, 'Answers'));
  const rows = Object.entries(operation.responses).map(([status, raw]) =>
    make('tr', {}, make('th', { scope: 'row' }, status), make('td', {}, resolve(raw).description)));
  parts.push(make('table', {}, make('tbody', {}, ...rows)));
  const good = Object.entries(operation.responses).find(([status]) => status.startsWith('2'));
  const example = good && exampleOf(resolve(good[1]).content);
  if (example !== undefined) parts.push(make('pre', { tabindex: 0 }, shown(example)));
  const answered = good && fields((Object.values(resolve(good[1]).content || {})[0] || {}).schema);
  if (answered) parts.push(make('h4', {}, 'Fields of the answer'), answered);
  return parts;
}

function form(method, path, operation) {
  const inputs = (operation.parameters || []).map(resolve).map(each => {
    const attributes = { name: each.name, required: each.required ? '' : undefined, placeholder: typeOf(each.schema) };
    const input = make('input', attributes);
    return { ...each, input, label: make('label', {}, make('span', {}, `${each.name}${each.required ? ' *' : ''}`), input) };
  });
  const content = (resolve(operation.requestBody) || {}).content;
  const body = content && make('textarea', { spellcheck: 'false', 'aria-label': 'Body' }, shown(exampleOf(content) ?? {}));
  const answer = make('div', { class: 'answer', 'aria-live': 'polite' });
  async function send(event) {
    event.preventDefault();
    let address = path;
    const query = new URLSearchParams();
    const headers = {};
    for (const { name, in: place, input } of inputs) {
      if (!input.value) continue;
      if (place === 'path') address = address.replace(`{${name}}`, encodeURIComponent(input.value));
      if (place === 'query') query.set(name, input.value);
      if (place === 'header') headers[name] = input.value;
    }
    if (body) headers['Content-Type'] = Object.keys(content)[0];
    const key = document.getElementById('key').value;
    if (key) headers.Authorization = `Bearer ${key}`;
    if (query.size) address += `?${query}`;
    answer.replaceChildren(make('p', { class: 'state' }, 'Sending…'));
    const began = performance.now();
    try {
      const reply = await fetch(address, { method: method.toUpperCase(), headers, body: body ? body.value : undefined });
      const text = await reply.text();
      const ms = Math.round(performance.now() - began);
      let pretty = text;
      try { pretty = JSON.stringify(JSON.parse(text), null, 2); } catch { /* not JSON: as it is */ }
      const status = make('strong', { class: reply.ok ? 'good' : 'bad' }, `${reply.status} ${reply.statusText}`);
      answer.replaceChildren(make('p', {}, status, ` in ${ms} ms`), make('pre', { tabindex: 0 }, pretty || '(empty)'));
    } catch (error) {
      answer.replaceChildren(make('p', {}, make('strong', { class: 'bad' }, 'No answer'), `: ${error.message}`));
    }
  }
  return [make('form', { onsubmit: send }, ...inputs.map(each => each.label), body, make('p', {}, make('button', {}, 'Send'))), answer];
}

function card(method, path, operation) {
  const heading = make('h3', {}, make('span', { class: `method ${method}` }, method.toUpperCase()), make('code', {}, path), make('small', {}, operation.summary));
  const inside = [operation.description ? make('p', {}, operation.description) : undefined, ...(trying ? form(method, path, operation) : reading(operation))];
  return make('article', { id: operation.operationId }, heading, make('div', {}, ...inside));
}

function page() {
  const operations = Object.entries(api.paths).flatMap(([path, item]) =>
    Object.entries(item).filter(([method]) => ['get', 'post', 'delete'].includes(method)).map(([method, operation]) => ({ method, path, operation })));
  const other = trying ? make('a', { href: '/redoc' }, 'Read the reference') : make('a', { href: '/docs' }, 'Try the calls');
  const navigation = [make('h1', {}, api.info.title), make('p', {}, `Version ${api.info.version} · `, other)];
  const content = [make('header', {}, make('h1', {}, trying ? 'Try the API' : 'API reference'), make('p', {}, api.info.description),
    trying ? make('div', { class: 'key' }, make('label', { for: 'key' }, 'API key, where one is needed'), make('input', { id: 'key', type: 'password', autocomplete: 'off' })) : undefined)];
  for (const tag of api.tags) {
    const mine = operations.filter(each => each.operation.tags.includes(tag.name));
    navigation.push(make('h2', {}, tag.name), ...mine.map(({ method, path, operation }) =>
      make('a', { href: `#${operation.operationId}`, title: operation.summary }, make('span', { class: `method ${method}` }, method.toUpperCase()), make('span', {}, path))));
    content.push(make('section', {}, make('h2', {}, tag.name), make('p', { class: 'state' }, tag.description), ...mine.map(each => card(each.method, each.path, each.operation))));
  }
  document.querySelector('nav').replaceChildren(...navigation);
  document.querySelector('main').replaceChildren(...content);
  if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
}

fetch('/openapi.json').then(reply => reply.json()).then(description => { api = description; page(); }).catch(error => {
  document.querySelector('main').replaceChildren(make('p', { class: 'state', role: 'alert' }, `The description could not be read: ${error.message}`));
});
