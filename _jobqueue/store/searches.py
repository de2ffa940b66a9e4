"""What a text names: a job by its id or a key, a tag, a queue, a type, a kind of error."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from _jobqueue.errors import NotFound
from _jobqueue.listed import Hit
from _jobqueue.records import HITS_MOST, INDEX_OF, JOB_ID, NAME, Job
from _jobqueue.store.chunks import id_under_key
from _jobqueue.store.reads import Reads
from _jobqueue.store.registry import Registry
from _jobqueue.store.store import Store, prefix_of

NEWEST_MOST = 10_000  # ids of each status that are looked at, over all queues
LEAST_NEWEST = 100  # of each queue


class Searches:
    """Looks into all queues, each in one step."""

    def __init__(self, store: Store, registry: Registry, reads: Reads) -> None:
        self._store, self._registry, self._reads = store, registry, reads

    def search(self, text: str) -> list[Hit]:
        """Everything that has that very name."""
        numbers = self._registry.numbers_of_all()
        under_key = {queue: id_under_key(queue, number, text) for queue, number in numbers.items()}
        said = self._store.run_all("search", {queue: [text, under_key[queue]] for queue in numbers})
        hits = self._by_id(text) if JOB_ID.fullmatch(text) else []
        hits += self._jobs("unique_key", [(queue, each[0].decode()) for queue, each in said.items() if each[0]])
        hits += self._jobs("idempotency_key", [(queue, under_key[queue]) for queue, each in said.items() if each[4]])
        for name, at in (("tag", 1), ("kind", 2)):
            if count := sum(each[at] for each in said.values()):
                hits.append(Hit(name, jobs=count))
        if text in numbers:
            hits.append(Hit("queue", jobs=sum(self._reads.books(text).sizes.values())))
        if NAME.fullmatch(text) and any(each[3] for each in said.values()):
            hits.append(Hit("type"))
        return hits

    def candidates(self, key: str) -> list[str]:
        """The ids that the first job of a request under that idempotency key has, or had, in each queue."""
        return [id_under_key(queue, number, key) for queue, number in self._registry.numbers_of_all().items()]

    def starting(self, prefix: str) -> tuple[list[Hit], int]:
        """Jobs whose id begins so, among the newest of each status. Returns them, and how many of each were looked at in a
        queue."""
        queues = self._registry.queues()
        most = max(LEAST_NEWEST, NEWEST_MOST // max(1, len(queues)))
        found: dict[str, str] = {}
        for queue in queues:
            for index in dict.fromkeys([*INDEX_OF.values(), "held"]):
                ids = self._store.ask("ZREVRANGE", f"{prefix_of(queue)}{index}", 0, most - 1)
                found |= {each.decode(): queue for each in ids if each.startswith(prefix.encode())}
                if len(found) >= HITS_MOST:
                    break
        return self._jobs("job", [(queue, job_id) for job_id, queue in found.items()][:HITS_MOST]), most

    def _by_id(self, job_id: str) -> list[Hit]:
        with suppress(NotFound):
            row = self._registry.find(job_id, lambda queue: self._reads.rows([(queue, job_id)])[0])
            return [Hit("job", row.job)]
        return []

    def _jobs(self, name: str, wanted: Sequence[tuple[str, str]]) -> list[Hit]:
        rows = self._reads.rows(wanted) if wanted else []
        jobs: list[Job] = [row.job for row in rows if row]
        return [Hit(name, job) for job in jobs]
