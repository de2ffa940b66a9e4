// A traceback: frames apart, those of one's own code stressed.
import { h } from './dom.js';
import { isolated } from './parts.js';

const PYTHON = /^\s*File "(.+)", line (\d+)(?:, in (.+))?$/;
const NODE = /^\s*at (?:(.+) \()?(?:file:\/\/)?([^():]+):(\d+)(?::\d+)?\)?$/;
// Libraries, the standard library, what has no file, and the worker itself.
const FOREIGN =
  /site-packages|dist-packages|\/lib\/python\d|\/Lib\/|node_modules|^node:|^<|[/\\]_jobqueue[/\\]/;

const isOwn = (path) => !FOREIGN.test(path);

function frameOf(line) {
  const python = PYTHON.exec(line);
  if (python) {
    const [, path, number, name] = python;
    return { path, number, name, code: [] };
  }
  const node = NODE.exec(line);
  if (node) {
    const [, name, path, number] = node;
    return { path, number, name, code: [] };
  }
  return null;
}

// Frames {path, number, name, code: [lines]} and lines that are none, in their order.
export function framesOf(text) {
  const found = [];
  for (const line of text.trimEnd().split('\n')) {
    const last = found.at(-1);
    const frame = frameOf(line);
    if (frame) {
      found.push(frame);
    } else if (last?.path && /^\s{4}/.test(line)) {
      last.code.push(line.trim());
    } else {
      found.push(line);
    }
  }
  return found;
}

export function trace(label, text) {
  const parts = framesOf(text).map((part) => (part.path ? frame(part) : h('p', isolated(part))));
  return h('div.trace', { tabindex: 0, role: 'region', label }, parts);
}

function frame({ path, number, name, code }) {
  const [, folder, file] = /^(.*[/\\])?(.*)$/.exec(path);
  return h(
    isOwn(path) ? 'div.frame.own' : 'div.frame',
    h('span.where', h('b', `${file}:${number}`), name && [' in ', name]),
    folder && h('small', folder),
    // Marks below an expression stand under nothing here.
    code.filter((line) => !/^[\s~^]+$/.test(line)).map((line) => h('code', isolated(line))),
  );
}
