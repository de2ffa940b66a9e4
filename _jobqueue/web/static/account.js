// The API key: asked for, whose it is, for how long it is kept, and another one in its place.
import { dialog } from './dialogs.js';
import { h } from './dom.js';
import { apiKey, isKept, keepKey, who } from './key.js';
import { button, facts, input } from './parts.js';

const MAY = {
  read: 'look at everything, and change nothing',
  submit: 'look, and submit jobs',
  admin: 'do everything',
  work: 'claim jobs and settle them, and see nothing here',
};

// `renew` is called when another key is wanted.
export function account(renew) {
  const { name, scope, queues } = who();
  const onchange = ({ target }) => keepKey(apiKey(), target.checked);
  const box = dialog(
    'The API key in use',
    facts(
      [
        ['Name', name],
        ['Scope', scope],
        ['It may', MAY[scope]],
        ['Queues', queues ? queues.join(', ') : 'all'],
      ],
      'list',
    ),
    h(
      'label.choice',
      input({ type: 'checkbox', checked: isKept(), onchange }),
      h('span', 'Keep it for this browser, not only for this tab'),
    ),
    h(
      'p.actions',
      button('Use another key', () => {
        box.close();
        renew();
      }),
      button('Close', () => box.close(), 'primary'),
    ),
  );
}

// True once a key was given. `refused`: one that was not accepted.
export function givenKey(refused) {
  const field = input({ type: 'password', required: true });
  const forBrowser = input({ type: 'checkbox' });
  function onsubmit(event) {
    event.preventDefault();
    keepKey(field.value.trim(), forBrowser.checked);
    box.close('given');
  }
  const box = dialog(
    refused ? 'That key was not accepted' : 'An API key is needed',
    h('p', 'Looking needs the scope read, submitting submit, the rest admin.'),
    h(
      'form',
      { onsubmit },
      h('label', h('span', 'API key'), field),
      h(
        'label.choice',
        forBrowser,
        h('span', 'Keep it for this browser; else it is forgotten with this tab'),
      ),
      h(
        'p.actions',
        button('Not now', () => box.close()),
        h('button.primary', 'Use this key'),
      ),
    ),
  );
  field.focus();
  return new Promise((resolve) => {
    box.addEventListener('close', () => resolve(box.returnValue === 'given'));
  });
}
