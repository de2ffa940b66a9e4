import os

import dramatiq
import jobs
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

URL = os.environ["REDIS_URL"]
broker = RedisBroker(url=URL)
broker.add_middleware(Results(backend=RedisBackend(url=URL), store_results=True))
dramatiq.set_broker(broker)
ACTORS = {name: dramatiq.actor(body, actor_name=name) for name, body in jobs.THREADED.items()}


def put(name, value):
    ACTORS[name].send(value)


def put_many(name, values):
    dramatiq.group([ACTORS[name].message(value) for value in values]).run()
