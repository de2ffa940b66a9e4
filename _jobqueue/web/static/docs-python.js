// Values and calls as Python writes them.

const WIDEST = 76; // of what stays on one line

// A value of JSON as a literal.
export function python(value) {
  if (value === null || value === undefined) {
    return 'None';
  }
  if (typeof value === 'boolean') {
    return value ? 'True' : 'False';
  }
  if (Array.isArray(value)) {
    return pythonList(value.map(python));
  }
  if (typeof value === 'object' && !JSON.isRawJSON?.(value)) {
    const members = Object.entries(value).map(([name, each]) => `${python(name)}: ${python(each)}`);
    return wrapped('{', members, '}');
  }
  return JSON.stringify(value); // texts and numbers are written as in JSON
}

// A call with its arguments; those that are false are left out.
export const pythonCall = (name, options) => wrapped(`${name}(`, options.filter(Boolean), ')');

export const pythonList = (parts) => wrapped('[', parts, ']');

// Arguments by their names; those without a value are left out, and what can be no name.
export function named(values) {
  return Object.entries(values)
    .filter(([name, value]) => value !== undefined && /^[a-z_]\w*$/i.test(name))
    .map(([name, value]) => `${name}=${python(value)}`);
}

function wrapped(begin, parts, end) {
  const line = `${begin}${parts.join(', ')}${end}`;
  if (line.length <= WIDEST && !line.includes('\n')) {
    return line;
  }
  const indented = parts.map((part) => `    ${part.replaceAll('\n', '\n    ')},\n`);
  return `${begin}\n${indented.join('')}${end}`;
}
