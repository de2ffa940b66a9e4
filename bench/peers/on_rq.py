import os

import jobs
from redis import Redis
from rq import Queue, Retry

queue = Queue("bench", connection=Redis.from_url(os.environ["REDIS_URL"]))
AGAIN = Retry(max=3)  # without it, the job of a worker that died is moved to the failed ones


def put(name, value):
    queue.enqueue(jobs.THREADED[name], value, retry=AGAIN)


def put_many(name, values):
    queue.enqueue_many([Queue.prepare_data(jobs.THREADED[name], (value,), retry=AGAIN) for value in values])
