// The example in JavaScript, with the handler `noted` of ledger.py.
import { appendFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Fail, work } from '../../examples/javascript/worker.mjs';

const stopping = new AbortController();
process.once('SIGTERM', () => stopping.abort());

function write(what, job) {
  const at = Number(process.hrtime.bigint()) / 1e9;
  appendFileSync(process.env.LEDGER, `${what} ${job.id} ${job.attempt} ${process.pid} ${at.toFixed(6)}\n`);
}

async function noted({ n, s = 0, fails = 0 }, job) {
  write('start', job);
  await sleep(s * 1000, undefined, { signal: job.signal });
  write('end', job);
  if (fails === 'always') {
    throw new Fail('as it was told to');
  }
  if (job.attempt <= fails) {
    throw new Error('as it was told to');
  }
  return n;
}

await work({ handlers: { noted }, slots: 4, leaseS: 2, stop: stopping.signal });
