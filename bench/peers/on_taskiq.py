import os

import jobs
from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

URL = os.environ["REDIS_URL"]
broker = RedisStreamBroker(url=URL).with_result_backend(RedisAsyncResultBackend(redis_url=URL))
opened, closed = broker.startup, broker.shutdown
TASKS = {name: broker.task(task_name=name)(body) for name, body in jobs.ASYNC.items()}


async def put(name, value):
    await TASKS[name].kiq(value)
