import os

import jobs
from celery import Celery, group

URL = os.environ["REDIS_URL"]
app = Celery("bench", broker=URL, backend=URL)
app.conf.update(task_acks_late=True, broker_connection_retry_on_startup=True)
TASKS = {name: app.task(body, name=name) for name, body in jobs.THREADED.items()}


def put(name, value):
    TASKS[name].delay(value)


def put_many(name, values):
    group(TASKS[name].s(value) for value in values).apply_async()
