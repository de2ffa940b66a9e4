"""The queues by name and by number, and what the workers published of their job types.

The number that counts stands in the queue's own ``meta``, where the script that stores jobs compares it. The registry says
which queues there are, and follows. So a Redis that has lost its registry, or has got back an older one, finds its jobs again.
A number leads to one queue, or to several after such a loss: then each of them is asked."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from typing import TypeVar

from _jobqueue.errors import Invalid, NotFound, Unavailable
from _jobqueue.listed import Filter
from _jobqueue.records import DEFAULT_QUEUE, MAX_QUEUES, Policy
from _jobqueue.store.durability import Durability
from _jobqueue.store.ids import queue_number_of
from _jobqueue.store.link import Args
from _jobqueue.store.rows import pairs_of
from _jobqueue.store.store import Store, prefix_of

REGISTRY = "jq:queues"
ROUTES = "jq:types"
KEPT_S = 2  # how long what was read is believed where a script compares it

T = TypeVar("T")


class Registry:
    """Which queues there are. A job's id carries its queue's number."""

    def __init__(self, store: Store, durability: Durability, queues_max: int) -> None:
        self._store, self._durability, self._queues_max = store, durability, queues_max
        # Replaced as a whole, never changed: other threads read them.
        self._numbers: dict[str, int] = {}
        self._names: dict[int | None, list[str]] = {}
        self._read_at = -math.inf
        self._missing: dict[
            str, tuple[float, int]
        ] = {}  # queues that have left the registry: since when, and their number
        self._types: dict[str, tuple[float, dict[str, Policy]]] = {}
        self._confirmed: set[str] = set()
        self._routes: tuple[float, dict[str, str]] = (-math.inf, {})

    def queues(self) -> list[str]:
        """All queues, by number."""
        rows = pairs_of(self._store.ask("HGETALL", REGISTRY))
        numbers = {name.decode(): int(number) for name, number in rows.items()}
        gone = {name: number for name, number in self._numbers.items() if name not in numbers}
        self._keep(numbers)
        self._read_at = time.monotonic()
        if gone or self._missing:
            self._look_for(gone)
        if self._types.keys() - self._numbers.keys():  # of queues that are gone for good
            self._types = {name: types for name, types in self._types.items() if name in self._numbers}
            self._confirmed &= self._numbers.keys()
        return sorted(self._numbers, key=self._numbers.__getitem__)

    def queues_of(self, wanted: Filter) -> list[str]:
        return [queue for queue in self.queues() if wanted.queue in (None, queue)]

    def by_number(self) -> dict[int | None, list[str]]:
        """Which queues a number leads to."""
        self.queues()
        return self._names

    def numbers_of(self, wanted: Filter) -> dict[str, int]:
        """The queues that a filter wants, by number."""
        return {queue: self._numbers.get(queue, 0) for queue in self.queues_of(wanted)}

    def numbers_of_all(self) -> dict[str, int]:
        """All queues with their numbers."""
        return self.numbers_of(Filter())

    def queue_of(self, job_id: str) -> str:
        """The queue that a job id belongs to. NotFound when there is none."""
        return self.find(job_id, lambda queue: queue)

    def is_elsewhere(self, job_id: str, queue: str) -> bool:
        """Whether an id leads to another queue."""
        names = self.by_number().get(queue_number_of(job_id), [])
        return bool(names) and queue not in names

    def find(self, job_id: str, ask: Callable[[str], T | None]) -> T:
        """What ``ask`` says of a job in the queue that its id leads to. NotFound where that is None, also by the registry as
        it is now."""
        for queue in self._queues_of(job_id):
            answer = ask(queue)
            if answer is not None:
                return answer
        raise NotFound(f"there is no job {job_id}")

    def _queues_of(self, job_id: str) -> Iterator[str]:
        number = queue_number_of(job_id)
        if number is None:
            return
        asked = [] if self._is_old() else self._names.get(number, [])
        yield from asked
        yield from (queue for queue in self.by_number().get(number, []) if queue not in asked)

    def knows(self, queue: str) -> bool:
        """Whether it was there when the registry was last read."""
        return queue in self._numbers

    def open_to_us(self, queue: str) -> str:
        """The same queue, where its jobs may be submitted from here. NotFound where it is nobody's of ours."""
        return queue

    def register(self, queue: str, most: int | None = None) -> tuple[int, bool]:
        """Make a queue known, to the reaper too. Returns its number, and whether the registry has just said so. Invalid for a new
        one above ``most``, or QUEUES_MAX."""
        sure = False
        if self._is_old():
            try:
                self.queues()
                sure = True
            except Unavailable:  # on a Cluster the queue itself may be within reach
                if queue not in self._numbers:
                    raise
                self._read_at = time.monotonic()
        number = self._numbers.get(queue)
        return (self._enter(queue, most=most), True) if number is None else (number, sure)

    def renumber(self, queue: str, own: str) -> int:
        """The number of a queue whose ``meta`` says ``own``, or '' where it says nothing yet: as the registry has it from now on."""
        self._confirmed.discard(queue)
        return self._enter(queue, own)

    def unregister(self, queue: str) -> int | None:
        """Take a queue out of the registry. Returns its number; None where it was not there."""
        number = int(self._store.run_at(REGISTRY, "unregister", [queue]))
        self._keep({name: its for name, its in self._numbers.items() if name != queue})
        return None if number < 0 else number

    def unconfirmed(self, queue: str) -> str:
        """Why the queue's number is not as durable as wanted; '' when it is. On a Cluster the registry may live on another shard
        than the job; elsewhere it is older than the job, and replicas copy in order."""
        fast = self._durability.wanted == "fast"
        if fast or self._store.servers.kind != "cluster" or queue in self._confirmed:
            return ""
        args: Args = (queue, MAX_QUEUES, self._numbers.get(queue, ""))
        _, why_not = self._durability.run_at(REGISTRY, f"jq:{{{REGISTRY}}}:meta", "register", args)
        if not why_not:
            self._confirmed.add(queue)
        return why_not

    def published(self, queue: str) -> dict[str, Policy]:
        """What the workers published of their types, at most KEPT_S old."""
        read_at, types = self._types.get(queue, (-math.inf, {}))
        if time.monotonic() - read_at > KEPT_S:
            rows = pairs_of(self._store.ask("HGETALL", f"{prefix_of(queue)}types"))
            types = {name.decode(): Policy(*map(int, row.split())) for name, row in rows.items()}
            self._types[queue] = time.monotonic(), types
        return types

    def queue_for(self, job_type: str) -> str:
        """The queue of a job that names none: that of its type's handler, at most KEPT_S old, else the default."""
        read_at, routes = self._routes
        if time.monotonic() - read_at > KEPT_S:
            try:
                rows = pairs_of(self._store.ask("HGETALL", ROUTES))
                routes = {name.decode(): queue.decode() for name, queue in rows.items()}
            except Unavailable:  # on a Cluster the queue itself may be within reach
                if read_at == -math.inf:
                    raise
            self._routes = time.monotonic(), routes
        return routes.get(job_type, DEFAULT_QUEUE)

    def publish_routes(self, routes: Mapping[str, str], without: Collection[str] = ()) -> None:
        """Say which queues the handlers of some types name, and that those of others name none."""
        if gone := [name for name in without if name not in routes]:
            self._store.ask("HDEL", ROUTES, *gone)
        if routes:
            self._store.ask("HSET", ROUTES, *(part for pair in routes.items() for part in pair))

    def _enter(self, queue: str, own: str = "", most: int | None = None) -> int:
        most = self._queues_max if most is None else most
        number = int(self._store.run_at(REGISTRY, "register", [queue, most, own]))
        if number < 0:
            raise Invalid(
                [("/queue", f"there are {most} queues already: delete one that is not used, or raise QUEUES_MAX")]
            )
        self._keep(self._numbers | {queue: number})
        return number

    def _keep(self, numbers: dict[str, int]) -> None:
        names: dict[int | None, list[str]] = {}
        for name, number in numbers.items():
            names.setdefault(number, []).append(name)
        self._numbers, self._names = numbers, names

    def _look_for(self, gone: dict[str, int]) -> None:
        """Enters queues again that have left the registry and still have their ``meta``. A queue is deleted in two steps, of
        which the first takes it out of the registry: nobody shall come between them."""
        now = time.monotonic()
        missing = {name: (now, number) for name, number in gone.items()} | self._missing
        self._missing = {name: since for name, since in missing.items() if name not in self._numbers}
        for name, (since, number) in list(self._missing.items()):
            if now - since < KEPT_S:
                continue
            with suppress(Unavailable):
                own, used = self._store.ask("HMGET", f"{prefix_of(name)}meta", "number", "seq")
                if used is not None:
                    self._enter(name, own.decode() if own else str(number))
                self._missing.pop(name, None)

    def _is_old(self) -> bool:
        return time.monotonic() - self._read_at > KEPT_S
