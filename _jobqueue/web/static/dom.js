// Elements, changed in place: a view is drawn anew in memory, and what differs is carried over to
// the page.
import { visible } from './visible.js';

const HANDLERS = [
  'onclick',
  'onchange',
  'oninput',
  'onkeydown',
  'onpointerdown',
  'onpointermove',
  'onpointerleave',
  'onpointerdown',
  'onpointerup',
  'onpointercancel',
  'onfocus',
  'onblur',
];
const ATTRIBUTES = { key: 'data-key', label: 'aria-label' };
const READ = ['label', 'title']; // by people
const SVG = 'http://www.w3.org/2000/svg';

export const isMissing = (value) => value === null || value === undefined;
const isShown = (child) => !isMissing(child) && child !== false && child !== '';

// h('td.n', {title: 'x'}, 'text', h('b', 'bold')): strings become text, never HTML, and all of it
// can be seen.
export function h(tag, ...rest) {
  return build((name) => document.createElement(name), tag, rest);
}

export function svg(tag, ...rest) {
  return build((name) => document.createElementNS(SVG, name), tag, rest);
}

function build(create, tag, rest) {
  const [name, ...classes] = tag.split('.');
  const element = create(name);
  if (classes.length) {
    element.setAttribute('class', classes.join(' '));
  }
  const hasProperties = rest[0]?.constructor === Object;
  const properties = hasProperties ? rest[0] : {};
  const children = hasProperties ? rest.slice(1) : rest;
  for (const [key, value] of Object.entries(properties)) {
    setProperty(element, key, value);
  }
  element.append(...children.flat(3).filter(isShown).map(asNode));
  return element;
}

function setProperty(element, key, value) {
  const isContent = key === 'value' && element.localName === 'textarea';
  if (key.startsWith('on') || key === 'checked' || isContent) {
    element[key] = value;
  } else if (isShown(value)) {
    const text = READ.includes(key) ? visible(value) : value;
    element.setAttribute(ATTRIBUTES[key] ?? key, value === true ? '' : text);
  }
}

const keyOf = (node) => node.dataset?.key;

function asNode(child) {
  return typeof child === 'object' ? child : document.createTextNode(visible(String(child)));
}

// Make the inside of `parent` look like `fresh`. What has the same key stays the same element:
// focus and scroll with it. Two with one key are a mistake of the view; both are shown.
export function show(parent, ...fresh) {
  const children = fresh.flat(3).filter(isShown).map(asNode);
  const kept = keptByKey(parent, children);
  const focused = document.activeElement;
  let place = parent.firstChild;
  for (const child of children) {
    const match = keyOf(child) ? kept.get(keyOf(child))?.shift() : sameKind(place, child);
    if (match && match === place) {
      place = place.nextSibling;
    } else {
      parent.insertBefore(match || child, place);
    }
    if (match) {
      carry(match, child);
    }
  }
  removeFrom(place);
  if (focused !== document.activeElement && focused.isConnected) {
    focused.focus({ preventScroll: true });
  }
}

// The children with a key that is still wanted, in a list for each key; those with another one go.
function keptByKey(parent, children) {
  const kept = new Map();
  for (const key of children.map(keyOf).filter(Boolean)) {
    if (kept.has(key)) {
      console.error(`two children have the key ${key}`);
    }
    kept.set(key, []);
  }
  for (const child of [...parent.childNodes].filter(keyOf)) {
    if (kept.has(keyOf(child))) {
      kept.get(keyOf(child)).push(child);
    } else {
      child.remove();
    }
  }
  return kept;
}

function sameKind(node, child) {
  return node && !keyOf(node) && node.nodeName === child.nodeName ? node : null;
}

function removeFrom(node) {
  while (node) {
    const next = node.nextSibling;
    node.remove();
    node = next;
  }
}

function carry(old, fresh) {
  if (old === fresh) {
    return;
  }
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.data !== fresh.data) {
      old.data = fresh.data;
    }
    return;
  }
  carryAttributes(old, fresh);
  for (const name of HANDLERS) {
    old[name] = fresh[name];
  }
  if (old.nodeName === 'INPUT') {
    old.checked = fresh.checked;
  }
  show(old, [...fresh.childNodes]);
}

function carryAttributes(old, fresh) {
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && name !== 'style') {
      old.removeAttribute(name);
    }
  }
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value) {
      old.setAttribute(name, value);
    }
  }
}
