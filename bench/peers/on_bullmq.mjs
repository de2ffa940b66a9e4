// bullmq on node: "on_bullmq.mjs work", or what send.py does for the others.
import fs from "node:fs";
import { createRequire } from "node:module";
import { setTimeout as sleep } from "node:timers/promises";

const { NODE_FOLDER, RECORDS, REDIS_URL, SLOTS, TEXT } = process.env;
const { Queue, Worker } = createRequire(NODE_FOLDER + "/")("bullmq");
const { hostname: host, port } = new URL(REDIS_URL);
const connection = { host, port: Number(port) };
const CHUNK = 1000, EVERY_MS = 20, IO_MS = 10;

const nowMs = () => performance.timeOrigin + performance.now();
const payload = (number) => String(number).padStart(8, "0") + TEXT;

async function work() {
  const file = fs.openSync(RECORDS, "a"), line = Buffer.alloc(16);
  const record = (value) => {
    line.writeDoubleLE(nowMs() / 1000, 0);
    line.writeDoubleLE(value, 8);
    fs.writeSync(file, line);
    return 1;
  };
  const run = async ({ name, data: { value } }) => {
    if (name === "stamp") return record(value);
    if (name === "io") await sleep(IO_MS);
    return record(Number(value.slice(0, 8)));
  };
  const worker = new Worker("bench", run, { connection, concurrency: Number(SLOTS) });
  process.on("SIGTERM", () => worker.close().then(() => process.exit()));
}

async function send(what, jobs) {
  const queue = new Queue("bench", { connection });
  await queue.waitUntilReady();
  const put = (name, value) => queue.add(name, { value });
  const name = what === "io" ? "io" : "noop";
  if (what !== "stamp") await put(name, payload(0));
  const began = nowMs();
  if (what === "stamp") {
    for (let number = 0; number < jobs; number++) {
      await sleep(Math.max(0, began + number * EVERY_MS - nowMs()));
      await put("stamp", nowMs() / 1000);
    }
  } else if (what === "bulk") {
    for (let low = 1; low < jobs; low += CHUNK) {
      const length = Math.min(CHUNK, jobs - low);
      await queue.addBulk(Array.from({ length }, (_, n) => ({ name, data: { value: payload(low + n) } })));
    }
  } else {
    for (let number = 1; number < jobs; number++) await put(name, payload(number));
  }
  console.log((nowMs() - began) / 1000);
  await queue.close();
}

const [what, jobs] = process.argv.slice(2);
await (what === "work" ? work() : send(what, Number(jobs)));
