// A worker in JavaScript without dependencies: `work({ handlers })`. Node 18 or newer.
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';

/** A handler throws it for an attempt after which there shall be no other. */
export class Fail extends Error {}

/** The job was taken back, or an operator wants it to stop. `signal` has told the handler. */
class Lost extends Error {}

/**
 * Works until `stop` (an AbortSignal) is aborted, then finishes what it runs.
 * `handlers`: type -> async (payload, job) => result; `job` has id, attempt, signal, progress(fraction, note) and log(line).
 */
export async function work({
  handlers,
  url = process.env.API ?? 'http://127.0.0.1:8000',
  key = process.env.KEY,
  queue = 'default',
  slots = 4,
  leaseS = 15,
  stop = new AbortController().signal,
}) {
  const call = caller(url, key);
  const one = () => new Slot({ handlers, call, queue, leaseS, stop }).run();
  await Promise.all(Array.from({ length: slots }, one));
}

/** One job at a time, under a name of its own. */
class Slot {
  constructor(shared) {
    Object.assign(this, shared);
    this.worker = `js-${randomUUID()}`;
    this.seq = 1;
  }

  async run() {
    while (!this.stop.aborted) {
      const jobs = await this.claim();
      for (const job of jobs) {
        await this.attempt(job);
      }
    }
  }

  /** Under the same number until an answer has come: so a lost one costs nothing. */
  async claim() {
    const types = Object.keys(this.handlers);
    const body = { worker: this.worker, seq: this.seq, types, wait_s: 20, lease_s: this.leaseS };
    const { status, json } = await this.call(`/queues/${this.queue}/claim`, body, this.stop);
    if (status === 200 || status === 204 || status === 409) {
      this.seq += 1;
    } else if (status) {
      await sleep(1000); // what is refused now may not be later
    }
    return status === 200 ? json.jobs : [];
  }

  async attempt(given) {
    const lost = new AbortController();
    const job = new Job(given, lost.signal);
    const beats = this.beat(job, lost);
    const end = await this.outcome(job, given);
    clearInterval(beats);
    if (!lost.signal.aborted) {
      await this.settle(job, end);
    } else if (lost.signal.reason.message === 'cancelled') {
      await this.settle(job, { error: { kind: 'cancelled', message: 'it was asked to stop' } });
    }
  }

  async outcome(job, { type, payload }) {
    try {
      return { result: (await this.handlers[type](payload, job)) ?? null };
    } catch (error) {
      const message = String(error?.message ?? error).slice(0, 8000);
      const kind = (error?.name ?? 'Error').replace(/[^\w.-]/g, '_').slice(0, 64) || 'Error';
      return { error: { kind, message }, ...(error instanceof Fail && { retry: false }) };
    }
  }

  /** Three times a lease: says that the job is still being worked at, and hears whether it should be. */
  beat(job, lost) {
    return setInterval(async () => {
      const { status, json } = await this.call(`/jobs/${job.id}/extend`, job.news());
      if (status === 409 || status === 404 || json?.cancel) {
        lost.abort(new Lost(json?.cancel ? 'cancelled' : 'lost'));
      }
    }, (this.leaseS * 1000) / 3);
  }

  /** Until it is answered: a settlement may be sent twice. */
  async settle(job, end) {
    for (let wait = 100; ; wait = Math.min(2 * wait, 2000)) {
      const { status } = await this.call(`/jobs/${job.id}/finish`, { token: job.token, ...end });
      if (status === 422 || status === 413) {
        end = { error: { kind: 'bad_result', message: 'the result cannot be stored' }, retry: false };
      } else if (status && status < 500 && status !== 429) {
        return;
      }
      await sleep(wait);
    }
  }
}

/** What a handler knows of its job. */
class Job {
  constructor({ job_id, token, attempt }, signal) {
    Object.assign(this, { id: job_id, token, attempt, signal });
    this.told = {};
  }

  progress(fraction, note = '') {
    this.told.progress = { fraction, note };
  }

  log(line) {
    this.told.log = [...(this.told.log ?? []), String(line)].slice(-100);
  }

  news() {
    const news = { token: this.token, ...this.told };
    this.told = {};
    return news;
  }
}

/** Posts JSON. Answers { status, json }; {} when no answer came. */
function caller(url, key) {
  const headers = { 'Content-Type': 'application/json', ...(key && { Authorization: `Bearer ${key}` }) };
  return async (path, body, signal) => {
    const late = AbortSignal.timeout(30_000);
    const ends = signal ? anyOf(signal, late) : late;
    try {
      const answer = await fetch(url + path, { method: 'POST', headers, body: JSON.stringify(body), signal: ends });
      return { status: answer.status, json: await answer.json().catch(() => null) };
    } catch {
      await sleep(signal?.aborted ? 0 : 200);
      return {};
    }
  };
}

function anyOf(...signals) {
  const either = new AbortController();
  for (const signal of signals) {
    signal.addEventListener('abort', () => either.abort(), { once: true });
    if (signal.aborted) {
      either.abort();
    }
  }
  return either.signal;
}
