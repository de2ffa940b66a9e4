// Whose key is in use, for how long it is kept, and another one in its place.
import { dialog } from './dialogs.js';
import { h } from './dom.js';
import { apiKey, isKept, keepKey } from './key.js';
import { button, facts, input } from './parts.js';
import { who } from './role.js';

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
