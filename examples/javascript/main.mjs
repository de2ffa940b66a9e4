// node main.mjs: handles the type `thumbnail`, until Ctrl-C.
import { Fail, work } from './worker.mjs';

const stopping = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, () => stopping.abort());
}

const handlers = {
  async thumbnail({ width }, job) {
    if (!(width > 0)) {
      throw new Fail('width must be a positive number');
    }
    job.progress(0.5, 'half of it');
    return { width, height: Math.round((width * 3) / 4), attempt: job.attempt };
  },
};

await work({ handlers, stop: stopping.signal });
