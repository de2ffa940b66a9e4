"""Tags: how many of a tag's jobs have which status, and who waits until they have ended."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from _jobqueue.listed import Filter
from _jobqueue.pieces import Field
from _jobqueue.records import STATUSES
from _jobqueue.store.recounts import Walk, recount
from _jobqueue.store.registry import Registry
from _jobqueue.store.store import Store, prefix_of
from _jobqueue.store.waits import in_scripts
from _jobqueue.tally import COUNTED, Tally, Wait, sum_of

READ_STEPS = 20  # of a recount, in one read; the reaper goes on
TICK_STEPS = 20  # of a queue, in one tick
EVERYWHERE_S = 1.0  # for those who wait: jobs of the tag may come into another queue
OLD_MS = 5000  # while one of the release before has been seen within that time, no recount can be whole


class _Row(NamedTuple):
    """A tag in one queue. ``whole_ms``: when the last recount of all its jobs began. ``old_ms``: until when a program of the release
    before may have moved jobs without counting."""

    tally: Tally
    kept: int
    whole_ms: int
    old_ms: int

    @property
    def adds_up(self) -> bool:
        return sum(self.tally.jobs[status] for status in STATUSES) == self.kept

    @property
    def is_exact(self) -> bool:
        """No such program has lived since the first job came, or since all were recounted."""
        born_ms = self.tally.first_ms if self.tally.first_ms is not None else 0
        return self.kept == 0 or (self.adds_up and max(born_ms, self.whole_ms) >= self.old_ms)


@dataclass
class Seen:
    """What those who wait have seen: of each queue its totals, of each tag in it the counts."""

    queues: list[str] = field(default_factory=list)
    totals: dict[str, str] = field(default_factory=dict)
    tallies: dict[tuple[str, str], Tally] = field(default_factory=dict)
    looked_at: float = -math.inf

    def has_jobs(self, queue: str, tag: str) -> bool:
        return (queue, tag) in self.tallies and self.tallies[queue, tag].total > 0

    def is_over(self, wait: Wait) -> bool:
        queues = [queue for queue in self.queues if wait.queue in (None, queue) and (queue, wait.tag) in self.tallies]
        return sum_of(wait.tag, [self.tallies[queue, wait.tag] for queue in queues]).has_ended(wait.total)


class Tags:
    """Reads and recounts the counts of tags."""

    def __init__(self, store: Store, registry: Registry) -> None:
        self._store, self._registry = store, registry
        self._walks: dict[str, Walk] = {}  # of the reaper's ticks: queue -> where it is

    def tally(self, tag: str, queue: str | None = None) -> Tally:
        """A tag in all queues, or in one; each at one instant. Jobs that are not counted yet are counted first, as many as fit
        into one call; the reaper goes on with the rest."""
        queues = self._registry.queues_of(Filter(queue=queue))
        rows = self._rows(tag, queues)
        if vague := [name for name, row in rows.items() if not row.is_exact]:
            for name in vague:
                recount(self._store, name, tag, READ_STEPS)
            rows |= self._rows(tag, vague)
            for name in vague:
                if not rows[name].is_exact:
                    self._store.ask("SADD", f"{prefix_of(name)}recounts", tag)
        return sum_of(tag, [row.tally._replace(exact=row.is_exact) for row in rows.values()])

    def ended(self, waits: Collection[Wait], seen: Seen) -> list[Wait]:
        """Those of some waits that are over. ``seen`` is for the next call with the same waits, for others give a new one. Counts
        are read only of queues in which some job has ended. Queues without any of the jobs are looked at once a second."""
        now = time.monotonic()
        if everywhere := now - seen.looked_at >= EVERYWHERE_S:
            seen.looked_at, seen.queues = now, self._registry.queues()
        wanted: dict[str, list[str]] = {}
        for queue in seen.queues:
            tags = list(dict.fromkeys(wait.tag for wait in waits if wait.queue in (None, queue)))
            if tags and (everywhere or any(seen.has_jobs(queue, tag) for tag in tags)):
                wanted[queue] = tags
        seen.tallies |= {place: row.tally for place, row in _look(self._store, wanted, seen.totals).items()}
        return [wait for wait in waits if seen.is_over(wait)]

    # -- recounts

    def go_on(self, queue: str, tag: str) -> None:
        """A reaper's part: some more steps for the tag that it has begun with, else for one that somebody has asked for and that is
        not counted yet."""
        walk = self._walks.pop(queue, None) or Walk(self._store, queue, tag)
        row = self._rows(walk.tag, [queue])[queue]
        if self._store.now_ms(queue) - row.old_ms < OLD_MS:
            return
        for _ in range(TICK_STEPS):
            walk.step()
            if walk.over:
                walk.conclude()
                return
        self._walks[queue] = walk

    def _rows(self, tag: str, queues: Iterable[str]) -> dict[str, _Row]:
        return {queue: row for (queue, _), row in _look(self._store, {queue: [tag] for queue in queues}, {}).items()}


def exactness(store: Store, queue: str, tags: Sequence[str]) -> dict[str, bool]:
    """Of some tags of a queue, whether their counts are exact as far as they say."""
    return {tag: row.is_exact for (_, tag), row in _look(store, {queue: list(tags)}, {}).items()}


def _look(store: Store, wanted: Mapping[str, list[str]], totals: dict[str, str]) -> dict[tuple[str, str], _Row]:
    """What lua/tally.lua answers for tags of the queues whose totals are not those that are given; these are then as they are
    now."""
    rows: dict[tuple[str, str], _Row] = {}
    for part in in_scripts(list(wanted.items()), apart=store.servers.kind == "cluster"):
        args: list[Field] = []
        for queue, tags in part:
            args += [prefix_of(queue), totals.get(queue, ""), len(tags), *tags]
        for (queue, tags), (said, old_ms, *found) in zip(part, store.run("tally", part[0][0], args), strict=True):
            totals[queue] = said.decode()
            rows |= {(queue, tag): _row_of(tag, row, old_ms) for tag, row in zip(tags, found, strict=False)}
    return rows


def _row_of(tag: str, row: Sequence[Any], old_ms: bytes) -> _Row:
    kept, head, *rest = row
    counts, (first, last, whole) = rest[: len(COUNTED)], rest[len(COUNTED) :]
    times = [int(float(time)) for time in (head, first) if time]
    jobs = {name: max(0, int(n)) for name, n in zip(COUNTED, counts, strict=True)}
    tally = Tally(tag, jobs, min(times, default=None), int(last) if last else None)
    return _Row(tally if kept else Tally(tag, dict.fromkeys(COUNTED, 0)), kept, int(whole or 0), int(old_ms or 0))
