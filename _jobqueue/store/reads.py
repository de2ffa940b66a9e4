"""Reads: jobs by their ids, counts, workers, kinds of error."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from _jobqueue.errors import NotFound
from _jobqueue.records import Books, Filter, Job, Kind, Look
from _jobqueue.store.registry import Registry
from _jobqueue.store.rows import books_of, job_of, kind_of, pairs_of
from _jobqueue.store.store import Store

JOBS_PER_READ = 250


class Reads:
    """Reads one queue at a time, each answer at one instant."""

    def __init__(self, store: Store, registry: Registry) -> None:
        self._store, self._registry = store, registry

    def one(self, job_id: str) -> Job:
        """The job. NotFound for any other id."""
        job = self.many(self._registry.queue_of(job_id), [job_id]).get(job_id)
        if job is None:
            raise NotFound(f"there is no job {job_id}")
        return job

    def many(self, queue: str, job_ids: Sequence[str]) -> dict[str, Job]:
        """Those of some jobs of a queue that are there."""
        found, at = {}, 0
        while at < len(job_ids):
            asked = job_ids[at : at + JOBS_PER_READ]
            rows = self._store.run("get", queue, [*self._store.defaults, *asked])
            for job_id, row in zip(asked, rows, strict=False):  # a script that has read enough answers fewer
                if row:
                    found[job_id] = job_of(job_id, queue, row[0], row[1], row[2:])
            at += len(rows)
        return found

    def kinds(self, queue: str | None) -> list[Kind]:
        """The kinds of error among the dead letters (of one queue), the most frequent first."""
        found: dict[str, Kind] = {}
        for name in self._registry.queues_of(Filter(queue=queue)):
            for row in self._store.run("kinds", name, []):
                kind = kind_of(row)
                other = found.get(kind.kind, replace(kind, count=0))
                latest = max(kind, other, key=lambda each: each.at_ms)
                found[kind.kind] = replace(latest, count=kind.count + other.count)
        return sorted(found.values(), key=lambda kind: (-kind.count, kind.kind))

    def books(self, queue: str) -> Books:
        """All counts of a queue."""
        return books_of(self._store.run("look", queue, []))

    def look(self, queue: str, minutes: int, jobs: int) -> Look:
        """All counts, the workers, the counters of the last minutes (this one included) and the types of the next ``jobs``."""
        answer = self._store.run("look", queue, [minutes, jobs])
        books, (types, workers, rows) = books_of(answer[:8]), answer[8:]
        last = books.now_ms // 60_000
        return Look(
            books,
            [name.decode() for name in types],
            {name.decode(): json.loads(info) | {"beat_ms": int(beat)} for name, beat, info in workers},
            {last - ago: {name.decode(): int(n) for name, n in pairs_of(row).items()} for ago, row in enumerate(rows)},
        )
