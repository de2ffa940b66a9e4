// The key that the dashboard asks for, shared with it: kept for the tab, or for this browser.
const KEY = 'jobqueue-key';
const THEME = 'jobqueue-theme';

const isKept = () => localStorage.getItem(KEY) !== null;

export const key = () => sessionStorage.getItem(KEY) ?? localStorage.getItem(KEY) ?? '';

// Where it is; '' forgets it.
export function setKey(text, inBrowser = isKept()) {
  sessionStorage.removeItem(KEY);
  localStorage.removeItem(KEY);
  if (text) {
    const storage = inBrowser ? localStorage : sessionStorage;
    storage.setItem(KEY, text);
  }
}

export { isKept };

// The theme that was chosen in the dashboard, also when it is chosen in another tab.
export function followTheme() {
  document.documentElement.dataset.theme = localStorage.getItem(THEME) ?? 'auto';
}
