// What is listed, page by page into a file: NDJSON, a job a line.
import { call } from './api.js';
import { progressOf } from './bulk.js';
import { h } from './dom.js';
import { filterOf } from './listing.js';
import { query } from './parts.js';
import { number, plural } from './words.js';

const ROWS_MOST = 10000;
const PAGE = 200; // as many as the API gives at once

// `total` names how many there are. Says what was saved.
export async function saved(params, total) {
  const progress = progressOf(`Saving ${total} jobs`, ROWS_MOST);
  const rows = [];
  let cursor = '';
  try {
    do {
      const asked = query({ ...filterOf(params), cursor, limit: PAGE });
      const page = await call('GET', `/jobs?${asked}`);
      rows.push(...page.jobs);
      cursor = page.next_cursor;
      progress.at(rows.length);
    } while (cursor && rows.length < ROWS_MOST && !progress.stopped);
  } finally {
    progress.end();
  }
  const name = ['jobs', ...Object.values(filterOf(params))].join('-');
  const file = `${name.replace(/[^\w.-]+/g, '-').slice(0, 80)}.ndjson`;
  download(file, rows.slice(0, ROWS_MOST));
  return words(rows.slice(0, ROWS_MOST), file, cursor);
}

function download(name, rows) {
  const text = rows.map((job) => `${JSON.stringify(job)}\n`).join('');
  const href = URL.createObjectURL(new Blob([text], { type: 'application/x-ndjson' }));
  h('a', { href, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(href), 60000);
}

function words(rows, file, more) {
  const cut = rows.filter(({ truncated }) => truncated?.length).length;
  const parts = [
    `${plural(rows.length, 'job')} saved in ${file}`,
    more && 'there are more',
    cut && `of ${number(cut)} what is above 2 KiB is cut`,
  ];
  return parts.filter(Boolean).join('; ');
}
