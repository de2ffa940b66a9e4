"""Whether Redis answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import redis

from _jobqueue.errors import Unavailable
from _jobqueue.store.servers import Cluster, OneServer
from _jobqueue.store.weather import weather


class Stop(Protocol):
    """What a threading.Event gives: wait a while, or until it is set."""

    def wait(self, timeout: float | None = None) -> bool: ...
    def is_set(self) -> bool: ...


def ping(servers: OneServer | Cluster) -> None:
    """Return when Redis answers; of a Cluster, any primary."""
    with weather:
        clients = list(servers.primaries().values())
        for left, client in zip(range(len(clients) - 1, -1, -1), clients, strict=True):
            try:
                client.ping()
                return
            except (redis.RedisError, OSError):
                if not left:
                    raise


def wait_until(look: Callable[[], None], stop: Stop, say: Callable[[str], None]) -> None:
    """Return when ``look`` raises no Unavailable, or ``stop`` is set. Says once that it waits."""
    waiting = False
    while not stop.is_set():
        try:
            look()
            return
        except Unavailable as error:
            if not waiting:
                say(f"waiting for Redis: {error}")
            waiting = True
            stop.wait(0.5)
