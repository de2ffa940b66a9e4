// What lies on top of the page for a while: dialogs and toasts; and the fields that stand in them.
import { h } from './dom.js';
import { button, input } from './parts.js';

const TOAST_MS = 8000;

export function toast(text, level = 'info') {
  const element = h(`p.${level}`, text);
  document.getElementById('toasts').append(element);
  setTimeout(() => element.remove(), TOAST_MS);
}

export function dialog(title, ...body) {
  const element = h('dialog', { label: title }, h('h2', title), body);
  element.onclose = () => element.remove();
  document.body.append(element);
  element.showModal();
  return element;
}

const withoutCommas = (text) => text.trim().replaceAll(',', '');

// True when the person agrees, having typed the word if there is one.
export function agree({ title, text, ok, danger = false, word = '' }) {
  return new Promise((resolve) => {
    const yes = h(`button.${danger ? 'danger' : 'primary'}`, { disabled: Boolean(word) }, ok);
    const typed = word && input({ oninput: check });
    function check() {
      yes.disabled = withoutCommas(typed.value) !== withoutCommas(word);
    }
    function onsubmit(event) {
      event.preventDefault();
      box.close('yes');
    }
    const box = dialog(
      title,
      h('p', text),
      h(
        'form',
        { onsubmit },
        typed && h('label', h('span', `Type ${word} to confirm`), typed),
        h(
          'p.actions',
          button('Leave it', () => box.close()),
          yes,
        ),
      ),
    );
    box.addEventListener('close', () => resolve(box.returnValue === 'yes'));
    (typed || yes).focus();
  });
}

// A field for JSON, what is wrong with it, and a button that waits until nothing is.
export function editor(label, text, ok) {
  const said = h('p.wrong', { role: 'status' });
  const send = h('button.primary', ok);
  const area = h('textarea', { rows: 10, label, value: text, oninput: check });
  function check() {
    said.textContent = '';
    try {
      JSON.parse(area.value);
    } catch (error) {
      said.textContent = error.message;
    }
    send.disabled = Boolean(said.textContent);
  }
  return { area, said, send, check };
}

export async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    copyByHand(text);
  }
  toast(`${what} copied`);
}

// Where the page did not come from localhost or over TLS there is no clipboard for it.
function copyByHand(text) {
  const area = h('textarea', { value: text });
  document.body.append(area);
  area.select();
  document.execCommand('copy');
  area.remove();
}
