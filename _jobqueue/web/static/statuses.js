// What a job can be, what can be done with it then, and why it has failed.
export const STATUSES = [
  'queued',
  'scheduled',
  'blocked',
  'processing',
  'done',
  'failed',
  'cancelled',
];

// For each action the statuses that allow it.
export const FROM = {
  retry: ['failed', 'cancelled'],
  run: ['scheduled'],
  cancel: ['queued', 'scheduled', 'blocked', 'processing'],
  delete: STATUSES.filter((name) => name !== 'processing'),
};

export function reason({ kind, message }) {
  return message.startsWith(`${kind}:`) ? message : `${kind}: ${message}`;
}
