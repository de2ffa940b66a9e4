"""Run as a program it is the worker, which logs less than arq's own command does."""

import os

import jobs
from arq import create_pool, func, run_worker
from arq.connections import RedisSettings

SETTINGS = RedisSettings.from_dsn(os.environ["REDIS_URL"])


def task(name, body):
    async def run(ctx, value):
        return await body(value)

    return func(run, name=name)


class Worker:
    functions = [task(name, body) for name, body in jobs.ASYNC.items()]  # noqa: RUF012
    redis_settings = SETTINGS
    max_jobs = jobs.SLOTS


async def opened():
    global pool
    pool = await create_pool(SETTINGS)


async def put(name, value):
    await pool.enqueue_job(name, value)


async def closed():
    await pool.aclose()


if __name__ == "__main__":
    run_worker(Worker)
