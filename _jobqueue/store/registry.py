"""The queues by name and by number, and what the workers published of their job types."""

from __future__ import annotations

import math
import time

from _jobqueue.errors import Invalid, NotFound, Unavailable
from _jobqueue.records import Filter, Policy
from _jobqueue.store.durability import Durability
from _jobqueue.store.ids import queue_number_of
from _jobqueue.store.rows import pairs_of
from _jobqueue.store.store import Store, prefix_of

MAX_QUEUES = 4096  # 12 bits of a job id
REGISTRY = "jq:queues"
KEPT_S = 2  # a Redis that has lost data numbers its queues anew: nobody may go by the old numbers for longer


class Registry:
    """Which queues there are. A job's id carries its queue's number."""

    def __init__(self, store: Store, durability: Durability) -> None:
        self._store, self._durability = store, durability
        self._numbers: dict[str, int] = {}
        self._names: dict[int, str] = {}
        self._read_at = -math.inf
        self._types: dict[str, tuple[float, dict[str, Policy]]] = {}
        self._confirmed: set[str] = set()

    def queues(self) -> list[str]:
        """All queues that were ever used, by number."""
        rows = pairs_of(self._store.ask("HGETALL", REGISTRY))
        numbers = {name.decode(): int(number) for name, number in rows.items()}
        self._numbers, self._names = numbers, {number: name for name, number in numbers.items()}
        self._read_at = time.monotonic()
        return sorted(numbers, key=numbers.__getitem__)

    def queues_of(self, wanted: Filter) -> list[str]:
        return [queue for queue in self.queues() if wanted.queue in (None, queue)]

    def queue_of(self, job_id: str) -> str:
        """The queue that a job id belongs to. NotFound when there is none."""
        number = queue_number_of(job_id)
        if number is not None and (number not in self._names or self._is_old()):
            self.queues()
        if number not in self._names:
            raise NotFound(f"there is no job {job_id}")
        return self._names[number]

    def register(self, queue: str) -> int:
        """Make a queue known, to the reaper too, and return its number."""
        if self._is_old():
            try:
                self.queues()
            except Unavailable:  # on a Cluster the queue itself may be within reach
                if queue not in self._numbers:
                    raise
                self._read_at = time.monotonic()
        if queue not in self._numbers:
            number = int(self._store.run_at(REGISTRY, "register", [queue, MAX_QUEUES]))
            if number < 0:
                raise Invalid([("/queue", f"there are {MAX_QUEUES} queues already")])
            self._numbers[queue], self._names[number] = number, queue
        return self._numbers[queue]

    def unconfirmed(self, queue: str) -> str:
        """Why the queue's number is not as durable as wanted; '' when it is. On a Cluster the registry may live on another shard
        than the job; elsewhere it is older than the job, and replicas copy in order."""
        fast = self._durability.wanted == "fast"
        if fast or self._store.servers.kind != "cluster" or queue in self._confirmed:
            return ""
        _, why_not = self._durability.run_at(REGISTRY, f"jq:{{{REGISTRY}}}:meta", "register", [queue, MAX_QUEUES])
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

    def _is_old(self) -> bool:
        return time.monotonic() - self._read_at > KEPT_S
