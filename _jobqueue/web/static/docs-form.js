// The form of a call: a control for each parameter and each field of the body, and the body as JSON.
import { h } from './dom.js';
import {
  fieldsOf,
  isLarge,
  isList,
  isOnlyValues,
  isSwitch,
  isText,
  resolve,
  row,
  togetherOf,
  valuesOf,
} from './docs-schema.js';

const JSON_TYPE = 'application/json';
const FLAG = { enum: ['yes'] }; // a parameter that counts when it is there

// Whole numbers that JavaScript would round stay as they were written.
export function exact(_, value, context) {
  const isRounded = Number.isInteger(value) && !Number.isSafeInteger(value);
  return isRounded && JSON.rawJSON ? JSON.rawJSON(context.source) : value;
}

// undefined: it is no JSON.
export function parse(text) {
  try {
    return JSON.parse(text, exact);
  } catch {
    return undefined;
  }
}

// --- one control

function control(schema, properties) {
  const values = isSwitch(schema) ? [true, false] : valuesOf(schema);
  if (isSwitch(schema) || isOnlyValues(schema)) {
    const options = ['', ...values].map((value) =>
      h('option', { value: String(value) }, String(value)),
    );
    return h('select', properties, options);
  }
  if (isLarge(schema)) {
    return h('textarea', { ...properties, rows: 2, spellcheck: 'false' });
  }
  return h('input', { ...properties, autocomplete: 'off', spellcheck: 'false' });
}

// Names that the description proposes for a field that takes others too.
function proposals(schema, element) {
  const values = valuesOf(schema);
  if (element.localName !== 'input' || values.length === 0) {
    return null;
  }
  element.setAttribute('list', `${element.id}-values`);
  return h(
    'datalist',
    { id: `${element.id}-values` },
    values.map((value) => h('option', { value })),
  );
}

// What is typed, as JSON; what is none is a text, or a list of texts with commas.
function valueOf(schema, text) {
  if (isText(schema)) {
    return text;
  }
  const value = parse(text);
  if (value !== undefined) {
    return value;
  }
  return isList(schema) ? text.split(',').map((each) => each.trim()) : text;
}

function textOf(schema, value) {
  const isWord = isText(schema) || valuesOf(schema).includes(value);
  const isPlain = typeof value === 'string' && isWord;
  return isPlain ? value : (JSON.stringify(value) ?? '');
}

// --- all of them

// The form's elements, and request(): what it asks for now.
export function formOf(call, onchange) {
  const parameters = parametersOf(call);
  const body = bodyOf(call);
  const element = h(
    'form',
    { id: `form-${call.operation.operationId}`, oninput: onchange },
    parameters.length > 0 && [
      h('h4', 'Parameters'),
      h(
        'ul.fields',
        parameters.map(({ line }) => line),
      ),
    ],
    body?.elements,
  );
  return { element, request: () => requestOf(call, parameters, body) };
}

function parametersOf({ operation }) {
  return (operation.parameters ?? []).map((part) => {
    const { name, in: place, required, description, ...more } = resolve(part);
    const schema = more.allowEmptyValue ? FLAG : more.schema;
    const id = `${operation.operationId}-${place}-${name}`;
    const element = control(schema, { id, name, required });
    const field = { name, schema, isRequired: required, place, description };
    const list = proposals(schema, element);
    return { name, place, element, line: row(field, element, list) };
  });
}

// null: the call takes none. Its fields and its JSON follow each other.
function bodyOf({ operation }) {
  const asked = resolve(operation.requestBody);
  const [[type, media] = []] = Object.entries(asked.content ?? {});
  if (!type) {
    return null;
  }
  const schema = media.schema ?? {};
  const example = media.example ?? resolve(schema).example ?? (asked.required ? {} : undefined);
  const text = h('textarea', { spellcheck: 'false', label: 'The body as JSON' });
  text.value = example === undefined ? '' : JSON.stringify(example, null, 2);
  text.rows = Math.max(4, text.value.split('\n').length + 1);
  const fields = fieldsOf(schema).map((field) => bodyField(operation, field));

  function follow() {
    const value = parse(text.value);
    text.setAttribute('aria-invalid', String(text.value !== '' && value === undefined));
    for (const { name, element, schema: each } of fields) {
      element.value = textOf(each, value?.[name]);
    }
  }

  function write({ name, element, schema: each }) {
    const value = { ...parse(text.value) };
    delete value[name];
    if (element.value !== '') {
      value[name] = valueOf(each, element.value);
    }
    text.value = JSON.stringify(value, null, 2);
  }

  for (const field of fields) {
    field.element.oninput = () => write(field);
  }
  text.oninput = follow;
  follow();
  const together = togetherOf(schema);
  const elements = [
    h(
      'h4',
      'Body',
      h('span', [type, asked.required || 'optional', together].filter(isPhrase).join(', ')),
    ),
    h(
      'ul.fields',
      fields.map(({ line }) => line),
    ),
    h('h4', 'The body as JSON'),
    text,
  ];
  return { elements, type, text };
}

const isPhrase = (part) => typeof part === 'string' && part !== '';

function bodyField({ operationId }, field) {
  const element = control(field.schema, {
    id: `${operationId}-body-${field.name}`,
    'data-field': field.name,
  });
  const list = proposals(field.schema, element);
  return { ...field, element, line: row(field, element, list) };
}

// What is asked for. A place in the path that is still empty keeps its name.
function requestOf({ method, path, operation }, parameters, body) {
  const given = parameters.filter(({ element }) => element.value !== '');
  const inPlace = (place) =>
    given.filter((each) => each.place === place).map(({ name, element }) => [name, element.value]);
  const address = inPlace('path').reduce(
    (made, [name, value]) => made.replace(`{${name}}`, encodeURIComponent(value)),
    path,
  );
  const text = body?.text.value ?? '';
  const headers = Object.fromEntries(inPlace('header'));
  if (text) {
    headers['Content-Type'] = body.type;
  }
  return {
    name: operation.operationId,
    method: method.toUpperCase(),
    address,
    path: Object.fromEntries(parameters.filter((each) => each.place === 'path').map(pathValue)),
    query: Object.fromEntries(inPlace('query')),
    headers,
    text,
    body: text ? parse(text) : undefined,
    isJson: body?.type === JSON_TYPE,
  };
}

const pathValue = ({ name, element }) => [name, element.value || `{${name}}`];

// The address with its parameters.
export function addressOf({ address, query }) {
  const parameters = new URLSearchParams(query);
  return parameters.size ? `${address}?${parameters}` : address;
}
