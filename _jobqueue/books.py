"""What is known of a queue at one instant: its counts, its workers, its record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from _jobqueue.records import BEAT_LOST_MS, REAPER_LOST_MS


@dataclass(frozen=True, slots=True)
class Backlog:
    """What the record of a queue lacks: how many jobs, since when the one that has waited longest (to a few ms)."""

    size: int
    since_ms: int | None
    seen_ms: int | None  # when a process of the record was last heard of
    away_ms: int | None  # since when it finds no database
    away: str  # and what that database says
    refused: int  # jobs that the database does not take, for instance this one
    refused_id: str
    refused_why: str


class Expired(NamedTuple):
    id: str
    token: bytes
    lease_end: bytes


class Untold(NamedTuple):
    """Webhooks of a queue that are not told yet, by the status of the jobs that tell them; ``failed``: that will not be."""

    processing: int = 0
    queued: int = 0
    scheduled: int = 0
    failed: int = 0


ALL_TOLD = Untold()


@dataclass(frozen=True, slots=True)
class Books:
    """All counts of one queue at one instant."""

    sizes: dict[str, int]
    totals: dict[str, int]
    bell: int
    reaper_ms: int | None
    paused: bool
    waits_since_ms: int | None  # since when the job could run that has waited longest in the queue
    now_ms: int
    checked_ms: int | None  # when the checker last looked at it, and how much it found
    problems: int | None
    reaper_lease_ms: int | None  # PROCESSING_TIMEOUT_S of the reaper that ticked last
    paused_types: list[str]
    stuck: list[str]  # some dead letters for which blocked jobs wait
    record: Backlog | None = None  # None: no record is kept
    max_queued: int | None = None  # None: any number of jobs may wait
    untold: Untold = ALL_TOLD

    @property
    def missing(self) -> int:
        """submitted - (jobs there + deleted + trimmed): 0 when the books balance."""
        totals = self.totals
        gone = totals.get("deleted", 0) + totals.get("trimmed", 0)
        return totals.get("submitted", 0) - gone - sum(self.sizes.values())

    @property
    def waiting(self) -> int:
        """Those that count for ``max_queued``."""
        waiting = self.sizes["queued"] + self.sizes["scheduled"] + self.sizes["blocked"]
        return waiting - self.untold.queued - self.untold.scheduled

    @property
    def is_full(self) -> bool:
        return self.max_queued is not None and self.waiting >= self.max_queued

    @property
    def reaper_lives(self) -> bool:
        return self.reaper_ms is not None and self.now_ms - self.reaper_ms < REAPER_LOST_MS

    @property
    def oldest_age_ms(self) -> int | None:
        return None if self.waits_since_ms is None else self.now_ms - self.waits_since_ms


class Recent(NamedTuple):
    """How many jobs of a queue waited at some time, and how many had ended."""

    at_ms: int
    waiting: int
    ended: int


@dataclass(frozen=True, slots=True)
class Look:
    """What there is to know of one queue at one instant."""

    books: Books
    types: list[str]  # of the next jobs, and some that wait and nobody handles
    workers: dict[str, dict[str, Any]]  # what each said of itself at its last beat, beat_ms
    # minutes since the epoch -> counters, and oldest_ms: the oldest waiting job's age
    minutes: dict[int, dict[str, int]]
    recent: Sequence[Recent] = ()  # of the last minute and a half, the latest first

    def lives(self, worker: str) -> bool:
        info = self.workers.get(worker)
        if not info:
            return False
        # One that speaks HTTP is silent while it works, for its lease at most.
        silent_ms = max(BEAT_LOST_MS, 1000 * info["lease_s"]) if info.get("http") else BEAT_LOST_MS
        return bool(self.books.now_ms - info["beat_ms"] < silent_ms)

    def living(self) -> list[dict[str, Any]]:
        return [info for worker, info in self.workers.items() if self.lives(worker)]
