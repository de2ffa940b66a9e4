"""What waits of each type, and what was counted of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from _jobqueue.by_type import ByType, Waiting, counts_of
from _jobqueue.histograms import Counts
from _jobqueue.records import DEFAULT_TYPE
from _jobqueue.store.registry import Registry
from _jobqueue.store.rows import pairs_of
from _jobqueue.store.shares import of_each
from _jobqueue.store.store import Store

LOOKS = 500  # jobs of a queue that one script looks at; all of them are counted while there are no more
LOOKS_OF_ALL, LOOKS_LEAST = 4000, 20  # of many queues together, and of each


def look_by_type(store: Store, registry: Registry, minutes: int) -> dict[str, ByType]:
    """The types of all queues, with the counters of the last ``minutes``, this one included."""
    queues = registry.queues()
    answers = store.run_all("by_type", dict.fromkeys(queues, (_looks_at_each(queues), minutes)))
    return {queue: _by_type_of(answer) for queue, answer in answers.items()}


def dead_by_type(store: Store, queues: Sequence[str]) -> dict[str, tuple[dict[str, int], bool]]:
    """Of each queue its dead letters by type, and whether all were counted: else it is an estimate."""
    answers = store.run_all("dead_by_type", dict.fromkeys(queues, (_looks_at_each(queues),)))
    found = {}
    for queue, (all_, looked, *flat) in answers.items():
        weight = all_ / looked if looked else 0
        counts = {(name or DEFAULT_TYPE.encode()).decode(): round(n * weight) for name, n in pairs_of(flat).items()}
        found[queue] = counts, all_ == looked
    return found


def look_back(store: Store, queue: str) -> ByType:
    """The types of a queue. Those that came lately are those of the minute before this one alone."""
    return _by_type_of(store.run("by_type", queue, (LOOKS, 2, 1)))


def _looks_at_each(queues: Sequence[str]) -> int:
    return of_each(len(queues), LOOKS, LOOKS_OF_ALL, LOOKS_LEAST)


def _by_type_of(answer: Sequence[Any]) -> ByType:
    now, lately, exact, waiting, ever, minutes = answer
    this = int(now) // 60_000
    return ByType(
        int(now),
        int(lately),
        bool(exact),
        {name.decode(): Waiting(float(n), float(came), int(since)) for name, n, came, since in waiting},
        _counts_of(ever),
        {this - ago: _counts_of(row) for ago, row in enumerate(minutes)},
    )


def _counts_of(flat: Sequence[bytes]) -> dict[str, Counts]:
    return {name.decode(): counts_of(text) for name, text in pairs_of(flat).items()}
