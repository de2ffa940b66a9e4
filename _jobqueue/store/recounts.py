"""Recounts: how the jobs of a tag are counted that programs of the release before have made or moved. In bounded steps, and
while jobs come and go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from _jobqueue.pieces import Field
from _jobqueue.records import STATUSES
from _jobqueue.store.store import Store

STEP = 250  # jobs that one script looks at


class Look(NamedTuple):
    """What a walk has seen of a tag, counts by status. ``quiet``: nobody else has changed its counts meanwhile, so that what they
    are can be compared with what the jobs are counted as. ``moved``: jobs that are counted as something else than they are."""

    tag: str
    began_ms: int
    quiet: bool
    jobs: int
    counts: list[int]
    right: list[int]
    moved: int
    strays: list[str]

    @property
    def is_wrong(self) -> bool:
        return self.quiet and self.counts != self.right


class Walk:
    """Goes once through the jobs of one tag of a queue. With ``counts`` it counts them, else it looks."""

    def __init__(self, store: Store, queue: str, tag: str, counts: bool = True) -> None:
        self._store, self._queue, self.tag, self._counts = store, queue, tag, counts
        self._place, self._last = "", list[int]()
        self.seen = Look(tag, 0, True, 0, [], [0] * len(STATUSES), 0, [])
        self.over = False

    @property
    def args(self) -> list[Field]:
        """What the next step's script takes."""
        return [self.tag, self._place, STEP, int(self._counts)]

    def step(self) -> None:
        self.takes(self._store.run("recount", self._queue, self.args))

    def takes(self, answer: Sequence[Any]) -> None:
        """Learn what a step's script has answered."""
        place, now, jobs, before, after, tallies, moved, strays = answer
        seen = self.seen
        self.seen = Look(
            self.tag,
            seen.began_ms or int(now),
            seen.quiet and (not self._last or self._last == before),
            jobs,
            after,
            [n + more for n, more in zip(seen.right, tallies, strict=True)],
            seen.moved + moved,
            seen.strays + [stray.decode(errors="replace") for stray in strays],
        )
        self._place, self._last, self.over = place.decode(), after, not place

    def conclude(self, *, sure: bool = False) -> bool:
        """Behind the last step: note that the tag's counts are whole, if they add up. If not, some that were counted were removed
        by a program that counts nothing: then its counts are put right, unless others have changed them meanwhile. ``sure``: put
        right also counts that add up and are wrong. Returns whether they are whole."""
        seen = self.seen
        if sure or sum(seen.counts) != seen.jobs:
            fits = seen.quiet and sum(seen.right) == seen.jobs
            args = [*seen.counts, *seen.right]
            return fits and bool(self._store.run("whole", self._queue, [self.tag, seen.began_ms, *args]))
        return bool(self._store.run("whole", self._queue, [self.tag, seen.began_ms]))


def steps_of(jobs: int) -> int:
    """How many steps a walk through so many jobs has."""
    return jobs // STEP + 1


def recount(store: Store, queue: str, tag: str, steps: int, *, sure: bool = False) -> bool:
    """Count a tag's jobs, in at most so many steps. Returns whether its counts are whole."""
    walk = Walk(store, queue, tag)
    for _ in range(steps):
        walk.step()
        if walk.over and walk.conclude(sure=sure):
            return True
        if walk.over:
            walk = Walk(store, queue, tag)
    return False
