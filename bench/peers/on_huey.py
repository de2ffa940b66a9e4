import os

import jobs
from huey import RedisHuey

huey = RedisHuey("bench", url=os.environ["REDIS_URL"])
TASKS = {name: huey.task(name=name)(body) for name, body in jobs.THREADED.items()}


def put(name, value):
    TASKS[name](value)
