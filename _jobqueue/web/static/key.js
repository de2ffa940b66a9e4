// The API key, and what it may do. It is kept for this tab, or, where that was asked for, for this browser; all
// pages share it.
const KEY = 'jobqueue-key';

export const apiKey = () => sessionStorage.getItem(KEY) ?? localStorage.getItem(KEY);

export const isKept = () => localStorage.getItem(KEY) !== null;

export function keepKey(key, forBrowser) {
  forgetKey();
  (forBrowser ? localStorage : sessionStorage).setItem(KEY, key);
}

export function forgetKey() {
  sessionStorage.removeItem(KEY);
  localStorage.removeItem(KEY);
}

// --- what it may do: a button that it may not press is not there

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
