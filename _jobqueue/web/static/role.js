// What the key in use may do. A button that it may not press is not there.
const SCOPES = ['read', 'submit', 'admin']; // each may do what those before it may

let known = null;

// `answer` is what GET /whoami says.
export function learn(answer) {
  known = answer;
}

export const who = () => known;

// False until it is known. A key for work alone may do nothing here.
export const may = (scope) => SCOPES.indexOf(known?.scope) >= SCOPES.indexOf(scope);

// "viewer · read · email, push"; '' where no keys are set.
export function nameOfRole() {
  return known?.name
    ? [known.name, known.scope, known.queues?.join(', ')].filter(Boolean).join(' · ')
    : '';
}
