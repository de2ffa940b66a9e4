"""Run as a program it is the worker."""

import asyncio
import os
import signal

import jobs
from bullmq import Queue, Worker

OPTIONS = {"connection": os.environ["REDIS_URL"]}


def opened():
    global queue
    queue = Queue("bench", OPTIONS)


async def put(name, value):
    await queue.add(name, {"value": value})


async def put_many(name, values):
    await queue.addBulk([{"name": name, "data": {"value": value}} for value in values])


async def closed():
    await queue.close()


async def run(job, token):
    return await jobs.ASYNC[job.name](job.data["value"])


async def main():
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    worker = Worker("bench", run, OPTIONS | {"concurrency": jobs.SLOTS})
    await stop.wait()
    await worker.close()


if __name__ == "__main__":
    asyncio.run(main())
