import os

import jobs

from jobqueue import JobQueue, NewJob, handler

queue = JobQueue(os.environ["REDIS_URL"])


@handler("noop")
def noop(payload, ctx):
    return jobs.noop(payload)


@handler("stamp")
def stamp(payload, ctx):
    return jobs.stamp(payload)


@handler("io")
def io(payload, ctx):
    return jobs.io(payload)


def put(name, value):
    queue.submit(name, value)


def put_many(name, values):
    queue.submit_many([NewJob(name, value) for value in values])
