"""The one way to Redis: every script and command goes through a Store, which sends again what may go well the next time."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import redis

from _jobqueue.errors import Unavailable
from _jobqueue.pieces import Field
from _jobqueue.records import Policy
from _jobqueue.store.link import Args, Command, Link, Packed
from _jobqueue.store.scripts import Scripts
from _jobqueue.store.servers import LINK_TIMEOUT_S, Timeouts, servers_of
from _jobqueue.store.weather import PASSING, weather

R = TypeVar("R")
T = TypeVar("T")


def prefix_of(queue: str) -> str:
    """What every key of a queue begins with."""
    return f"jq:{{{queue}}}:"


class Store:
    """Runs scripts where their queue lives, each thread on its own connections. Thread-safe. Scripts may be sent twice."""

    def __init__(self, url: str, policy: Policy, timeout_s: float, retries: int) -> None:
        self.servers = servers_of(url, Timeouts(timeout_s, retries))
        self.policy = policy
        self.webhooks = "https"  # of webhooks.MODES
        self.defaults = (str(policy.max_attempts), str(policy.timeout_ms), str(policy.backoff_ms))
        self._timeout_s, self._retries = timeout_s, retries
        self._scripts = Scripts()
        self._own = threading.local()

    def run(self, name: str, queue: str, args: Args, meanwhile: Callable[[], None] | None = None) -> Any:
        """A script's answer. ``meanwhile`` is called while Redis works, again if the script is sent again."""
        return self.run_at(prefix_of(queue), name, args, meanwhile)

    def packed(self, name: str, queue: str, args: Args) -> Packed:
        """The arguments of a script that is to run, packed: that takes time, which Redis may need for another."""
        return Packed.of(self._scripts[name].sha, prefix_of(queue), args)

    def run_at(self, key: str, name: str, args: Args, meanwhile: Callable[[], None] | None = None) -> Any:
        """The same for a script whose key is no queue's prefix."""
        return self._tried(lambda link: link.run(name, key, args, meanwhile))

    def run_all(self, name: str, calls: Mapping[str, Args]) -> dict[str, Any]:
        """The answers of a script that runs for several queues: queue -> arguments."""
        keyed = [(prefix_of(queue), args) for queue, args in calls.items()]
        answers = self._tried(lambda link: link.run_all(name, keyed))
        return dict(zip(calls, answers, strict=True))

    def run_each(self, name: str, queue: str, calls: Sequence[Args]) -> list[Any]:
        """The answers of a script that runs several times for one queue."""
        return self._tried(lambda link: link.run_all(name, [(prefix_of(queue), args) for args in calls]))

    def ask_all(self, command: str, keys: Mapping[str, str], *args: Field) -> dict[str, Any]:
        """The answers of a command for a key of each of several queues: queue -> key."""
        answers = self._tried(lambda link: link.ask_all([(key, (command, key, *args)) for key in keys.values()]))
        return dict(zip(keys, answers, strict=True))

    def ask(self, command: str, key: str, *args: Field) -> Any:
        """A command's answer, in bytes as it comes."""
        return self._tried(lambda link: link.ask(key, command, key, *args))

    def ask_of(self, queue: str, *command: Field) -> Any:
        """The answer, in bytes as it comes, of the Redis that has the queue to a command that names no key."""
        return self._tried(lambda link: link.ask(prefix_of(queue), *command))

    def now_ms(self, queue: str) -> int:
        """The time by the clock of the Redis that has the queue."""
        seconds, micros = self.ask_of(queue, "TIME")
        return int(seconds) * 1000 + int(micros) // 1000

    def transaction(self, queue: str, calls: Sequence[tuple[str, Sequence[Field]]]) -> list[Any]:
        """The answers of scripts that run in one MULTI/EXEC."""
        return self._tried(lambda link: link.transaction(prefix_of(queue), calls))

    def run_and_confirm(
        self, key: str, name: str, args: Args, touch: str, confirm: Command, more_s: float
    ) -> tuple[Any, Any]:
        """A script and a command that confirms it, which may take ``more_s`` longer; see Link."""
        return self._tried(lambda link: link.run_and_confirm(name, key, args, touch, confirm), more_s)

    def link(self, timeout_s: float = LINK_TIMEOUT_S) -> Link:
        """Connections for one thread, whose calls are not repeated."""
        return Link(self.servers, self._scripts, timeout_s)

    def client(self, queue: str) -> Any:
        """A pooled client of the Redis that has the queue."""
        with weather:
            return self.servers.client(self.servers.owner(prefix_of(queue)))

    def unblock(self, links: Sequence[Link]) -> None:
        """End the waiting of other threads' links."""
        with weather:
            for place, client_id in [link.blocked_as for link in links if link.blocked_as]:
                if client_id:
                    self.servers.client(place).execute_command("CLIENT", "UNBLOCK", client_id)

    def _tried(self, call: Callable[[Link], R], more_s: float = 0.0) -> R:
        """Call with the thread's link, again while that may help."""
        link = self._link(more_s)
        delay_s, left = 0.05, self._retries
        while True:
            try:
                return call(link)
            except Unavailable as error:
                if not isinstance(error.__cause__, PASSING):
                    raise
                # Redis may have hung up since the last call: what follows on a new connection is the first try.
                if not (link.was_used and isinstance(error.__cause__, redis.ConnectionError)):
                    if not left:
                        raise
                    left -= 1
                    time.sleep(random.uniform(delay_s / 2, delay_s))
                    delay_s = min(2 * delay_s, 0.5)

    def _link(self, more_s: float) -> Link:
        name = "patient" if more_s else "quick"
        link: Link | None = getattr(self._own, name, None)
        if link is None:
            link = self.link(self._timeout_s + more_s)
            setattr(self._own, name, link)
        return link


def chunks_of(items: Iterator[T], size: int) -> Iterator[list[T]]:
    """Lists of at most ``size`` items."""
    chunk: list[T] = []
    for item in items:
        chunk.append(item)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
