// Findings that somebody has set aside for an hour, in this browser: their ids, and until when.
const ASIDE = 'jobqueue-aside';
const HOUR_MS = 3600000;

export const isAside = (id) => read()[id] > Date.now();

export function setAside(id, aside) {
  const left = Object.entries(read()).filter(([each, until]) => each !== id && until > Date.now());
  const added = aside ? [[id, Date.now() + HOUR_MS]] : [];
  localStorage.setItem(ASIDE, JSON.stringify(Object.fromEntries([...left, ...added])));
}

function read() {
  try {
    return JSON.parse(localStorage.getItem(ASIDE)) ?? {};
  } catch {
    return {}; // what a hand has spoiled sets nothing aside
  }
}
