"""Counters of job types, as workers tell them and as Redis keeps them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from _jobqueue.histograms import BUCKETS_MS, Counts

TYPES_KEPT = 200  # of a queue, as in lua/parts/by_type.lua; further ones are counted together
OTHER = "other"


@dataclass(frozen=True, slots=True)
class Waiting:
    """The queued jobs of a type: how many, how many of them came lately, since when the oldest one waits."""

    jobs: float
    came: float
    since_ms: int


@dataclass(frozen=True, slots=True)
class ByType:
    """What there is to know of a queue's types at one instant."""

    now_ms: int
    lately_ms: int  # since when a job came lately: the beginning of the minute before this one
    exact: bool  # all that waits was counted; else it is an estimate
    waiting: dict[str, Waiting]
    ever: dict[str, Counts]  # its counter ``since``: when the type was first counted
    minutes: dict[int, dict[str, Counts]]  # minutes since the epoch -> type -> counters


def text_of(counts: Counts) -> str:
    """Counters as the scripts read and keep them."""
    return json.dumps(counts, separators=(",", ":"))


def counts_of(text: bytes) -> Counts:
    return {name: int(n) for name, n in json.loads(text).items()}


def of_each(rows: Iterable[Mapping[str, Counts]]) -> dict[str, Counter[str]]:
    """Counters of some slots by type as those of TYPES_KEPT types at most: the first, and the rest."""
    by_type: dict[str, Counter[str]] = {}
    for row in rows:
        for job_type, counts in row.items():
            kept = job_type in by_type or len(by_type) < TYPES_KEPT - 1
            by_type.setdefault(job_type if kept else OTHER, Counter()).update(counts)
    return by_type


def came_in(found: ByType) -> dict[str, float]:
    """How many jobs of each type came in the minute before this one: those that still wait, and those that have started
    since. ``found.waiting`` counts as ``came`` those of that minute alone. An estimate: a start may have been at any moment
    of its minute."""
    this = found.now_ms // 60_000
    passed_ms = max(1, found.now_ms - this * 60_000)
    then, now = found.minutes.get(this - 1, {}), found.minutes.get(this, {})
    came: dict[str, float] = {}
    for name in {*found.waiting, *then, *now}:
        waits, before, after = found.waiting.get(name), then.get(name, {}), now.get(name, {})
        started = starts(before) - came_before(before, 0, 60_000)
        started += came_before(after, 0, passed_ms) - came_before(after, 60_000, passed_ms)
        came[name] = (waits.came if waits else 0) + started
    return came


def came_before(counts: Counts, from_ms: int, length_ms: int) -> float:
    """How many of the jobs that started within some time came earlier than ``from_ms`` before it began. A start may have been at
    any moment of that time."""
    low, found = 0, 0.0
    for bound in (*BUCKETS_MS, "inf"):
        high = low if isinstance(bound, str) else bound
        share = ((low + high) / 2 - from_ms) / length_ms
        found += counts.get(f"wait:{bound}", 0) * min(1.0, max(0.0, share))
        low = high
    return found


def starts(counts: Counts) -> int:
    return sum(counts.get(f"wait:{bound}", 0) for bound in (*BUCKETS_MS, "inf"))


def summed(rows: Iterable[Counts]) -> Counter[str]:
    total = Counter[str]()
    for row in rows:
        total.update(row)
    return total
