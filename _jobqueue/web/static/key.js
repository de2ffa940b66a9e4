// The API key: for this tab, or, where that was asked for, for this browser. All pages share it.
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
