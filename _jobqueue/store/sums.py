"""Sums: what a reaper notes of how a queue goes, and what charts read of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from _jobqueue.by_type import OTHER, TYPES_KEPT, ByType, came_in, counts_of, text_of
from _jobqueue.histograms import Counts
from _jobqueue.pieces import Field
from _jobqueue.store.by_type import dead_by_type, look_back
from _jobqueue.store.rows import pairs_of
from _jobqueue.store.store import Store

MINUTES, BLOCKS = 60, 288  # that a chart shows: an hour, or two days in ten minutes each
BLOCK = 10  # minutes
ADDED_MOST = 250  # counters of a type in a minute, by one script
ROUNDS = 8  # of ADDED_MOST: what is left then waits for the next note
WHOLE = "*"  # instead of a type: all jobs of the queue


class Series(NamedTuple):
    """Counters of a queue, or of a type in it: minutes, or ten minutes, since the epoch -> counters."""

    now_ms: int
    minutes: dict[int, Counts]
    blocks: dict[int, Counts]


class Sums:
    """A reaper's notes, each safe to send twice, and a chart's reads."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def note(self, queue: str) -> None:
        """How many jobs wait and have ended; and once a minute the look at the minute before, which adds it to its sum."""
        minute = self._store.run("sum", queue, [ADDED_MOST, ""]).decode()
        if not minute:
            return
        found = look_back(self._store, queue)
        if found.now_ms // 60_000 != int(minute) + 1:
            return  # it is over for longer; the next look tells of the next
        args: list[Field] = [ADDED_MOST, minute, round(sum(each.jobs for each in found.waiting.values()))]
        for name, counts in told_of(found).items():
            args += [name, text_of(counts)]
        for _ in range(ROUNDS):
            if not self._store.run("sum", queue, args):
                return

    def dead(self, queues: Sequence[str]) -> dict[str, tuple[dict[str, int], bool]]:
        """Of each queue its dead letters by type, and whether all were counted: of many it is an estimate."""
        return dead_by_type(self._store, queues)

    def read(self, queues: Iterable[str], job_type: str | None, minutes: int, blocks: int) -> dict[str, Series]:
        """The last ``minutes`` of each queue, and the last ``blocks``, both with those at hand."""
        # What is not in a sum yet is added here.
        more = max(minutes, 2 * BLOCK if blocks else 0)
        args = (more, blocks, job_type or WHOLE)
        answers = self._store.run_all("series", dict.fromkeys(queues, args))
        return {queue: _series_of(answer, job_type is None, minutes) for queue, answer in answers.items()}


def told_of(found: ByType) -> dict[str, Counts]:
    """By type how many wait and how many came, of TYPES_KEPT at most."""
    came = came_in(found)
    waiting = {name: each.jobs for name, each in found.waiting.items()}
    names = sorted({*came, *waiting}, key=lambda name: (-waiting.get(name, 0) - came.get(name, 0), name))
    told: dict[str, Counter[str]] = {}
    for at, name in enumerate(names):
        kept = told.setdefault(name if at < TYPES_KEPT - 1 else OTHER, Counter())
        kept.update(waiting=round(waiting.get(name, 0)), submitted=max(0, round(came.get(name, 0))))
    return {name: counts for name, counts in told.items() if any(counts.values())}


def _series_of(answer: Sequence[Any], whole: bool, wanted: int) -> Series:
    now, summed, minutes, blocks = answer
    this, last = int(now) // 60_000, int(summed or 0)
    read = [_counts_of(row, whole) for row in minutes]
    found = {this // BLOCK - ago: counts_of(row) if row else {} for ago, row in enumerate(blocks)}
    for ago, counts in enumerate(read):
        if this - ago > last and (block := (this - ago) // BLOCK) in found:
            found[block] = added(found[block], counts)
    return Series(int(now), {this - ago: counts for ago, counts in enumerate(read[:wanted])}, found)


def _counts_of(row: object, whole: bool) -> Counts:
    if not row:
        return {}
    if whole and isinstance(row, list):
        return {name.decode(): int(n) for name, n in pairs_of(row).items()}
    return counts_of(row) if isinstance(row, bytes) else {}


def added(old: Counts, more: Counts) -> Counts:
    """Counters and those of a later time; as in lua/sum.lua."""
    total = dict(old)
    for name, n in more.items():
        if name == "waiting":
            total[name] = n
        elif name == "oldest_ms":
            total[name] = max(total.get(name, 0), n)
        else:
            total[name] = total.get(name, 0) + n
    return total
