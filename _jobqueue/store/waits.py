"""Waits: which of the jobs that somebody waits for have ended."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from _jobqueue.errors import NotFound
from _jobqueue.pieces import Field
from _jobqueue.records import ENDED, Job
from _jobqueue.store.registry import Registry
from _jobqueue.store.store import Store, prefix_of

Row = TypeVar("Row", bound=tuple[str, Any])

ENDED_MOST = 250  # jobs that one script looks at
SOONEST_S, LATEST_S = 0.01, 0.5  # between two looks at a job that somebody waits for: half as long again each time


class Waits:
    """Looks at many jobs of many queues in as few scripts as can be."""

    def __init__(self, store: Store, registry: Registry) -> None:
        self._store, self._registry = store, registry

    def wait(self, job_id: str, timeout_s: float | None, get: Callable[[str], Job]) -> Job:
        """The job, once it has ended. TimeoutError, NotFound."""
        until = None if timeout_s is None else time.monotonic() + timeout_s
        seen: dict[str, str] = {}
        pause, step = threading.Event(), SOONEST_S
        while (job := get(job_id)).status not in ENDED:
            while not self.ended([job_id], seen):
                left = LATEST_S if until is None else until - time.monotonic()
                if left <= 0:
                    raise TimeoutError(
                        f"the job {job_id} has not ended within {timeout_s:g} s: it is {get(job_id).status}"
                    )
                pause.wait(min(step, left))
                step = min(step * 1.5, LATEST_S)
        return job

    def ended(self, job_ids: Iterable[str], seen: dict[str, str]) -> list[str]:
        """Those of some jobs that have ended or are gone. ``seen`` is for the next call with the same jobs, for others
        give an empty one. So it looks at them only when some job of their queue has ended. One script for up to ENDED_MOST
        jobs of a server; in a Cluster, of a queue."""
        jobs: dict[str, list[str]] = {}
        gone: list[str] = []
        for job_id in job_ids:
            try:
                jobs.setdefault(self._registry.queue_of(job_id), []).append(job_id)
            except NotFound:
                gone.append(job_id)
        rows = [
            (queue, ids[at : at + ENDED_MOST]) for queue, ids in jobs.items() for at in range(0, len(ids), ENDED_MOST)
        ]
        before = dict(seen)
        seen.clear()
        for part in in_scripts(rows, apart=self._store.servers.kind == "cluster"):
            args: list[Field] = []
            for queue, ids in part:
                args += [prefix_of(queue), before.get(queue, ""), len(ids), *ids]
            answers = self._store.run("ended", part[0][0], args)
            for (queue, _), (totals, *ended) in zip(part, answers, strict=True):
                seen.setdefault(
                    queue, totals.decode()
                )  # of several scripts, the first: what ends meanwhile is new to it
                gone += [job_id.decode() for job_id in ended]
        return gone


def in_scripts(
    rows: Sequence[Row], apart: bool, most: int = ENDED_MOST, size_of: Callable[[Row], int] = lambda row: len(row[1])
) -> Iterator[list[Row]]:
    """Rows of (queue, what is asked of it), as many together as one script may look at. ``apart``: each queue by
    itself; ``size_of`` a row: of how many things it asks."""
    part: list[Row] = []
    size = 0
    for row in rows:
        if part and ((apart and part[-1][0] != row[0]) or size + size_of(row) > most):
            yield part
            part, size = [], 0
        part.append(row)
        size += size_of(row)
    if part:
        yield part
