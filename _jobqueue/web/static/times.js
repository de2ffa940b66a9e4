// Times in lists: by the clock, or how long ago; the other one on hover.
import { h } from './dom.js';
import { button } from './parts.js';
import { clock, clockTime, told, when } from './words.js';

const KEY = 'jobqueue-times';
const SPAN = /^(\d+(?:\.\d+)?)\s*(s|min|m|h|d)$/;
const UNITS_MS = { s: 1000, m: 60000, min: 60000, h: 3600000, d: 86400000 };
const TIME = /^(?:(\d{4}-\d\d-\d\d)[ T])?(\d{1,2}:\d\d(?::\d\d)?)$/;

const isClock = () => localStorage.getItem(KEY) !== 'relative';

export function moment(at) {
  if (!at || !isClock()) {
    return when(at);
  }
  const title = `${told(at, 'ago')}: ${new Date(at).toLocaleString()} ${zone()}`;
  return h('time', { datetime: at, 'data-how': 'clock', title }, clockTime(at));
}

export function timesSwitch(redraw) {
  function turn() {
    localStorage.setItem(KEY, isClock() ? 'relative' : 'clock');
    redraw();
  }
  const shown = isClock() ? `Times: clock, ${zone()}` : 'Times: how long ago';
  const label = `${shown}. Show ${isClock() ? 'how long ago' : 'the clock'}`;
  return button(shown, turn, 'quiet', { key: 'times', label, title: label });
}

// Of this browser, as in UTC+02:00.
export function zone() {
  const minutes = -new Date().getTimezoneOffset();
  const [hours, rest] = [Math.floor(Math.abs(minutes) / 60), Math.abs(minutes) % 60];
  const offset = `${String(hours).padStart(2, '0')}:${String(rest).padStart(2, '0')}`;
  return minutes ? `UTC${minutes < 0 ? '-' : '+'}${offset}` : 'UTC';
}

// What people write for a time, as the API takes it: 14:05, 2026-11-26 14:05, or 2 h for so long ago. Of a time of day
// the last one that was. Null for what is none.
export function readTime(text) {
  const nowMs = Date.now() - clock.aheadMs;
  const span = SPAN.exec(text);
  if (span) {
    return new Date(nowMs - span[1] * UNITS_MS[span[2]]).toISOString();
  }
  const [, date, time] = TIME.exec(text) ?? [];
  const today = clockDate(new Date(nowMs));
  const at = time
    ? new Date(`${date ?? today}T${time.padStart(time.length === 4 ? 5 : time.length, '0')}`)
    : new Date(text);
  if (Number.isNaN(at.getTime())) {
    return null;
  }
  if (time && !date && at.getTime() > nowMs) {
    at.setDate(at.getDate() - 1);
  }
  return at.toISOString();
}

const clockDate = (at) => {
  const pad = (n) => String(n).padStart(2, '0');
  return `${at.getFullYear()}-${pad(at.getMonth() + 1)}-${pad(at.getDate())}`;
};
