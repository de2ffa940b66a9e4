// Schemas in words, and as rows that unfold. What is inside a fold is made when it is first opened.
import { h } from './dom.js';
import { breakable } from './parts.js';

const PLACES = { path: 'in the path', query: 'in the query', header: 'a header' };

let description = {};

export function use(read) {
  description = read;
}

// What a reference leads to; a description beside it counts more than one behind it.
export function resolve(part) {
  if (!part?.$ref) {
    return part ?? {};
  }
  const names = part.$ref.slice('#/'.length).split('/');
  const found = resolve(names.reduce((inner, name) => inner[name], description));
  return part.description ? { ...found, description: part.description } : found;
}

const nameOf = (part) => part.$ref?.split('/').at(-1);
const isShape = (part) => Boolean(part.$ref || part.type || part.enum || part.oneOf || part.anyOf);
const typesOf = (schema) => [schema.type ?? []].flat();

// The schemas of which one holds. Others beside a type only say which fields go together.
function choicesOf(schema) {
  return (schema.oneOf ?? schema.anyOf ?? []).filter(isShape);
}

export function valuesOf(part) {
  const schema = resolve(part);
  return schema.enum ?? choicesOf(schema).flatMap(valuesOf);
}

export function isOnlyValues(part) {
  return Boolean(resolve(part).enum);
}

export const isSwitch = (part) => typesOf(resolve(part)).includes('boolean');
export const isText = (part) => typesOf(resolve(part)).includes('string') && !isList(part);
export const isList = (part) => typesOf(resolve(part)).includes('array');
// Not one line: an object, a list of objects, any JSON.
export function isLarge(part) {
  const schema = resolve(part);
  const isAny = !isShape(schema) && !schema.allOf;
  return isAny || typesOf(schema).includes('object') || insidesOf(part).length > 0;
}

export function typeOf(part) {
  const schema = resolve(part);
  const choices = choicesOf(schema);
  if (schema.properties || schema.allOf) {
    return nameOf(part) ?? 'object';
  }
  if (schema.enum) {
    return 'one of these';
  }
  if (choices.length > 0) {
    return choices.map(typeOf).join(' or ');
  }
  const plain = typesOf(schema).join(' or ') || 'any JSON';
  const type = schema.format ? `${plain} (${schema.format})` : plain;
  return schema.items && isShape(schema.items) ? `${type} of ${typeOf(schema.items)}` : type;
}

// Each limit as a phrase.
export function limitsOf(part) {
  const schema = resolve(part);
  const own = [
    range(schema.minimum, schema.maximum),
    range(schema.minLength, schema.maxLength, ' characters'),
    range(schema.minItems, schema.maxItems, ' items'),
    schema.pattern,
    schema.default !== undefined && `default ${JSON.stringify(schema.default)}`,
  ].filter(Boolean);
  const inner = schema.items ? limitsOf(schema.items).map((each) => `each: ${each}`) : [];
  return [...own, ...choicesOf(schema).flatMap(limitsOf), ...inner];
}

function range(least, most, unit = '') {
  if (least === undefined && most === undefined) {
    return '';
  }
  const [low, high] = [least, most].map((each) => each?.toLocaleString('en-GB'));
  if (low === undefined) {
    return `at most ${high}${unit}`;
  }
  return high === undefined ? `at least ${low}${unit}` : `${low} to ${high}${unit}`;
}

// Which fields go together: "either cron or every_s"; '': any.
export function togetherOf(part) {
  const ways = (resolve(part).oneOf ?? []).filter((each) => !isShape(each) && each.required);
  return ways.length > 0
    ? `either ${ways.map((each) => each.required.join(', ')).join(' or ')}`
    : '';
}

// The fields of an object.
export function fieldsOf(part) {
  const schema = resolve(part);
  const own = Object.entries(schema.properties ?? {}).map(([name, each]) => ({
    name,
    schema: each,
    isRequired: (schema.required ?? []).includes(name),
  }));
  return [...own, ...(schema.allOf ?? []).flatMap(fieldsOf)];
}

// The objects in a schema, each with a title: one for itself, its items, its values or each choice.
function insidesOf(part) {
  const schema = resolve(part);
  const fields = fieldsOf(part);
  if (fields.length > 0) {
    return [{ title: nameOf(part), fields }];
  }
  const inner = [...choicesOf(schema), schema.items, schema.additionalProperties];
  return inner.filter(Boolean).flatMap(insidesOf);
}

// --- as elements

// A field: its name, its type, perhaps a control and its proposals, what it means and may hold.
export function row({ name, schema, isRequired, place, description: meaning }, control, proposals) {
  const values = control?.localName === 'select' ? [] : valuesOf(schema);
  const limits = limitsOf(schema);
  const text = meaning ?? resolve(schema).description;
  const title = control ? h('label', { for: control.id }, breakable(name)) : breakable(name);
  return h(
    'li.field',
    h(
      'div.about',
      h('code.name', title),
      isRequired && h('em', 'required'),
      h('span.type', typeOf(schema), place && `, ${PLACES[place]}`),
    ),
    control,
    proposals,
    h(
      'div.meaning',
      text && h('p', text),
      values.length > 0 && h('p.limits', values.map(word)),
      limits.length > 0 && h('p.limits', limits.map(word)),
      insides(schema, name),
    ),
  );
}

const word = (value) => h('code', typeof value === 'string' ? value : JSON.stringify(value));

// What a field holds, folded.
function insides(part, name) {
  return insidesOf(part).map(({ title = name, fields }) => {
    const list = h('ul.fields');
    const ontoggle = () =>
      list.childElementCount || list.append(...fields.map((each) => row(each)));
    return h('details.inside', { ontoggle }, h('summary', `Fields of ${title}`), list);
  });
}

// All of an answer's schema, its first level open.
export function tree(part) {
  const found = insidesOf(part);
  if (found.length === 0) {
    return h('ul.fields', row({ name: 'body', schema: part }));
  }
  return found.map(({ title, fields }) => [
    found.length > 1 && h('p.limits', title ?? 'object'),
    h(
      'ul.fields',
      fields.map((each) => row({ ...each, isRequired: false })), // nobody has to fill it in
    ),
  ]);
}
