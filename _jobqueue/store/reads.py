"""Reads: jobs by their ids, counts, workers, kinds of error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from _jobqueue.books import Books, Look
from _jobqueue.listed import Filter, Kind
from _jobqueue.records import Job
from _jobqueue.store.registry import Registry
from _jobqueue.store.rows import books_of, job_of, kind_of, look_of
from _jobqueue.store.store import Store

JOBS_PER_READ = 250


class Row(NamedTuple):
    """A job as lists show it, and how many bytes Redis has told of it."""

    job: Job
    bytes: int


class Reads:
    """Reads one queue at a time, each answer at one instant."""

    def __init__(self, store: Store, registry: Registry) -> None:
        self._store, self._registry = store, registry

    def one(self, job_id: str) -> Job:
        """The job. NotFound for any other id."""
        return self._registry.find(job_id, lambda queue: self.many(queue, [job_id]).get(job_id))

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

    def rows(self, wanted: Sequence[tuple[str, str]], index: str = "", status: str = "") -> list[Row | None]:
        """Jobs of any queues, queue and id, as lists show them. None for those that are gone, or have left the index or the
        status."""
        found: dict[str, Row | None] = {}
        asked: dict[str, list[str]] = {}
        for queue, job_id in wanted:
            asked.setdefault(queue, []).append(job_id)
        while asked:  # scripts that have read enough answer fewer
            calls = {
                queue: [*self._store.defaults, index, status, *ids[:JOBS_PER_READ]] for queue, ids in asked.items()
            }
            for queue, rows in self._store.run_all("rows", calls).items():
                ids = asked[queue]
                found |= {job_id: _row_of(job_id, queue, row) for job_id, row in zip(ids, rows, strict=False)}
                asked[queue] = ids[len(rows) :]
            asked = {queue: ids for queue, ids in asked.items() if ids}
        return [found[job_id] for _, job_id in wanted]

    def kinds(self, queue: str | None) -> list[Kind]:
        """The kinds of error among the dead letters (of one queue), the most frequent first."""
        found: dict[str, Kind] = {}
        for kinds in self.kinds_of_each(queue).values():
            for kind in kinds:
                other = found.get(kind.kind, replace(kind, count=0))
                latest, first_ms = max(kind, other, key=lambda each: each.at_ms), min(kind.first_ms, other.first_ms)
                found[kind.kind] = replace(latest, count=kind.count + other.count, first_ms=first_ms)
        return sorted(found.values(), key=lambda kind: (-kind.count, kind.kind))

    def kinds_of_each(self, queue: str | None) -> dict[str, list[Kind]]:
        """Those of each queue (of one)."""
        answers = self._store.run_all("kinds", dict.fromkeys(self._registry.queues_of(Filter(queue=queue)), ()))
        return {name: [kind_of(row) for row in rows] for name, rows in answers.items()}

    def books(self, queue: str) -> Books:
        """All counts of a queue."""
        return books_of(self._store.run("look", queue, []))

    def look(self, queue: str, minutes: int, jobs: int) -> Look:
        """All counts, the workers, the counters of the last minutes (this one included) and the types of the next ``jobs``."""
        return look_of(self._store.run("look", queue, [minutes, jobs]))

    def all_books(self) -> dict[str, Books]:
        """The counts of all queues."""
        return {name: books_of(answer) for name, answer in self._look_at_all().items()}

    def looks(self, minutes: int, jobs: int) -> dict[str, Look]:
        """All there is to know of all queues."""
        return {name: look_of(answer) for name, answer in self._look_at_all(minutes, jobs).items()}

    def _look_at_all(self, *args: int) -> dict[str, Any]:
        return self._store.run_all("look", dict.fromkeys(self._registry.queues(), args))


def _row_of(job_id: str, queue: str, row: Any) -> Row | None:
    return Row(job_of(job_id, queue, row[0], row[1], row[2:]), sum(map(len, row[0]))) if row else None
