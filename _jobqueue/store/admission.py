"""Admission: how many jobs of a queue may wait, and what is said to a submit for which there is no room."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from _jobqueue.errors import Invalid, JobQueueError, QueueFull, Unavailable
from _jobqueue.records import MAX_MAX_QUEUED
from _jobqueue.store.registry import Registry
from _jobqueue.store.store import Store

RETRY_AFTER_S = 1, 300  # the least and the most that a refused submit is told
TRIES = 5


class Admission:
    """Says how many jobs may wait in a queue."""

    def __init__(self, store: Store, registry: Registry) -> None:
        self._store, self._registry = store, registry

    def limit(self, queue: str, max_queued: int | None) -> None:
        """Refuse submits to a queue while so many of its jobs are queued, scheduled or blocked; None: never. The queue need not
        exist yet. Invalid for another number."""
        whole = isinstance(max_queued, int) and not isinstance(max_queued, bool)
        if max_queued is not None and not (whole and 0 <= max_queued <= MAX_MAX_QUEUED):
            raise Invalid([("/max_queued", f"must be a whole number from 0 to {MAX_MAX_QUEUED}, or null")])
        number, sure = self._registry.register(queue)
        for _ in range(TRIES):
            most = "" if max_queued is None else max_queued
            said = self._store.run("admission", queue, [most, number, int(sure)])
            if said[0] == b"set":
                return
            number, sure = self._registry.renumber(queue, said[1].decode()), True
        raise Unavailable("the queues are being numbered anew")


def refused(queue: str, answer: Sequence[Any]) -> JobQueueError:
    """What is raised for a submit that lua/submit.lua has refused because the queue is full."""
    max_queued, waiting, asked = (int(number) for number in answer[1:4])
    if asked > max(1, max_queued):
        return Invalid(
            [("", f"{asked} jobs at once never fit into the queue {queue}, where {max_queued} may wait: send fewer")]
        )
    after_s = _room_in_s(max(1, waiting + asked - max_queued), [int(n) for n in answer[5]], int(answer[4]))
    text = (
        f"{waiting} jobs wait in the queue {queue}, and {max_queued} may (max_queued): there may be room in {after_s} s"
    )
    return QueueFull(text, after_s)


def _room_in_s(jobs: int, ended: Sequence[int], now_ms: int) -> int:
    """When so many will have ended, at the pace of the last minutes. ``ended``: in each of them, this one first."""
    active = max((ago for ago, n in enumerate(ended) if n), default=None)
    least, most = RETRY_AFTER_S
    if active is None:
        return most
    passed_s = max(10.0, 60 * active + now_ms % 60_000 / 1000)
    return min(most, max(least, math.ceil(jobs * passed_s / sum(ended))))
