import os

import jobs
from saq import Queue

queue = Queue.from_url(os.environ["REDIS_URL"])
opened, closed = queue.connect, queue.disconnect


def task(name, body):
    async def run(ctx, *, value):
        return await body(value)

    return name, run


settings = {
    "queue": queue,
    "functions": [task(name, body) for name, body in jobs.ASYNC.items()],
    "concurrency": jobs.SLOTS,
}


async def put(name, value):
    await queue.enqueue(name, value=value, retries=3)  # by default a dead worker's job is not tried again
