"""A registry as somebody sees it for whom there are only some of the queues. What goes by queue or job id goes through a registry,
so nothing else need know."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from _jobqueue.errors import NotFound
from _jobqueue.listed import Filter
from _jobqueue.records import Policy
from _jobqueue.store.registry import Registry
from _jobqueue.store.store import Store


class BoundRegistry(Registry):
    """All other queues are NotFound, and their jobs."""

    def __init__(self, whole: Registry, store: Store, queues: Collection[str]) -> None:
        self._whole, self._store, self._ours = whole, store, frozenset(queues)

    def queues(self) -> list[str]:
        return [queue for queue in self._whole.queues() if queue in self._ours]

    def queues_of(self, wanted: Filter) -> list[str]:
        if wanted.queue is not None:
            self.open_to_us(wanted.queue)
        return super().queues_of(wanted)

    def by_number(self) -> dict[int | None, list[str]]:
        found = {n: [name for name in names if name in self._ours] for n, names in self._whole.by_number().items()}
        return {number: names for number, names in found.items() if names}

    def numbers_of(self, wanted: Filter) -> dict[str, int]:
        queues = set(self.queues_of(wanted))
        return {queue: number for queue, number in self._whole.numbers_of(wanted).items() if queue in queues}

    def _queues_of(self, job_id: str) -> Iterator[str]:
        return (queue for queue in self._whole._queues_of(job_id) if queue in self._ours)

    def knows(self, queue: str) -> bool:
        return queue in self._ours and self._whole.knows(queue)

    def open_to_us(self, queue: str) -> str:
        if queue not in self._ours:
            raise NotFound(f"there is no queue {queue}")
        return queue

    def register(self, queue: str, most: int | None = None) -> tuple[int, bool]:
        return self._whole.register(self.open_to_us(queue), most)

    def renumber(self, queue: str, own: str) -> int:
        return self._whole.renumber(self.open_to_us(queue), own)

    def unregister(self, queue: str) -> int | None:
        return self._whole.unregister(self.open_to_us(queue))

    def unconfirmed(self, queue: str) -> str:
        return self._whole.unconfirmed(queue)

    def published(self, queue: str) -> dict[str, Policy]:
        return self._whole.published(self.open_to_us(queue))

    def queue_for(self, job_type: str) -> str:
        return self._whole.queue_for(job_type)

    def publish_routes(self, routes: Mapping[str, str], without: Collection[str] = ()) -> None:
        self._whole.publish_routes(routes, without)
