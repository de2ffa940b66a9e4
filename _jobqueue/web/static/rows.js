// Cells of a job's row that several lists show.
import { h } from './dom.js';
import { bar, breakable, isolated } from './parts.js';
import { reason } from './statuses.js';
import { between, number, plural, when } from './words.js';

const PREVIEW = 160; // characters of a payload

export function preview({ tags, payload, payload_preview }) {
  return h(
    'div.preview',
    tags.map((tag) => h('span.tag', tag)),
    h('code', isolated((payload_preview ?? JSON.stringify(payload)).slice(0, PREVIEW))),
  );
}

export function detail({
  status: now,
  errors,
  progress,
  started_at,
  finished_at,
  run_at,
  position,
  blocked_by,
}) {
  const failure = errors.length > 0 && breakable(reason(errors.at(-1)));
  const after = failure && [' · ', failure];
  switch (now) {
    case 'processing':
      return [
        progress && bar(progress.fraction, 1, 'Progress'),
        progress?.note || 'running',
        ' · ',
        when(started_at, 'since'),
      ];
    case 'scheduled':
      return [failure ? 'again ' : 'due ', when(run_at), after];
    case 'queued':
      return [position && `position ${number(position)}`, after];
    case 'blocked':
      return blocked_by ? `waits for ${plural(blocked_by, 'job')}` : 'waits for other jobs';
    case 'failed':
      return failure;
    case 'done':
      return `ran ${between(started_at, finished_at)}`;
    default:
      return null;
  }
}
