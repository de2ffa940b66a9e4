"""How fast it goes: counters of minutes as rates and percentiles, and who is there to work."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

from _jobqueue.books import Look, Recent
from _jobqueue.histograms import BUCKETS_MS, Counts
from _jobqueue.rfc3339 import rfc3339

WINDOW = 6  # minutes that rates are taken over: five whole ones and this one
SHARES = (50, 95)  # percentiles that are shown
STATES = ("oldest_ms", "waiting")  # what a minute says beside its counters
RECENT_MS = 90_000  # what the time to drain goes by
LEAST_MS = 5_000  # of work, to tell a pace


def by_minute(looks: Mapping[str, Look]) -> dict[int, Counts]:
    """The counters of all queues together, and the age of the oldest job of all."""
    return together(look.minutes for look in looks.values())


def together(rows: Iterable[Mapping[int, Counts]]) -> dict[int, Counts]:
    """Counters of several queues by time: those of the same time added up."""
    total: defaultdict[int, Counter[str]] = defaultdict(Counter)
    for row in rows:
        for at, counts in row.items():
            oldest_ms = max(total[at]["oldest_ms"], counts.get("oldest_ms", 0))
            total[at].update(counts)
            total[at]["oldest_ms"] = oldest_ms
    return dict(total)


def last(minutes: Mapping[int, Counts]) -> dict[int, Counts]:
    """Those that rates are taken over."""
    return {minute: minutes[minute] for minute in sorted(minutes)[-WINDOW:]}


def minute_row(minute: int, counts: Counts, minutes: int = 1) -> dict[str, Any]:
    """``minute``: minutes since the epoch, or so many times ``minutes``."""
    return {
        "at": rfc3339(minute * minutes * 60_000),
        **{name: counts.get(name, 0) for name in ("submitted", "done", "failed", "retried")},
        **percentiles(counts),
        "waiting": counts.get("waiting"),
        "oldest_ms": counts.get("oldest_ms") or None,
    }


def percentiles(counts: Counts) -> dict[str, int | None]:
    return {
        f"{kind}_p{percent}_ms": percentile(counts, kind, percent / 100)
        for kind in ("wait", "run")
        for percent in SHARES
    }


def percentile(counts: Counts, kind: str, share: float) -> int | None:
    """What this share of the durations did not exceed, taking those of a bucket as evenly spread. Beyond the last bound, that
    bound. None when there were none."""
    rows = [(bound, counts.get(f"{kind}:{bound}", 0)) for bound in (*BUCKETS_MS, "inf")]
    wanted, low = share * sum(n for _, n in rows), 0
    for bound, n in rows:
        high = low if isinstance(bound, str) else bound
        if 0 < n >= wanted:
            return round(low + (high - low) * wanted / n)
        wanted, low = wanted - n, high
    return None


def _passed(minutes: Mapping[int, Counts], now_ms: int) -> float:
    """How many minutes rates are taken over: since the first of these in which anything happened, at least one."""
    active = [
        minute for minute, counts in minutes.items() if any(n for name, n in counts.items() if name not in STATES)
    ]
    return max(1.0, now_ms / 60_000 - min(active, default=now_ms // 60_000))


def rates(minutes: Mapping[int, Counts], now_ms: int) -> dict[str, Any]:
    counts, passed = Counter[str](), _passed(minutes, now_ms)
    for each in minutes.values():
        counts.update(each)
    errors = sum(n for name, n in counts.items() if name.startswith("errors:"))
    attempts = counts["done"] + errors
    return {
        "finished_per_minute": round((counts["done"] + counts["failed"]) / passed, 1),
        "failed_per_minute": round(counts["failed"] / passed, 1),
        "error_rate": round(errors / attempts, 4) if attempts else None,
        **percentiles(counts),
    }


def paces(minutes: Mapping[int, Counts], now_ms: int, *names: str) -> list[float]:
    """How much each counter has grown in the last minute: by all of this one, and by that part of the one before which is
    within."""
    this, passed_ms = divmod(now_ms, 60_000)
    now, before, share = minutes.get(this, {}), minutes.get(this - 1, {}), 1 - passed_ms / 60_000
    return [now.get(name, 0) + share * before.get(name, 0) for name in names]


def pace_of_work(look: Look) -> float:
    """How many jobs of the queue end in a minute while some wait: by the last minute and a half, as the reaper has noted it; else
    (it has not, or its jobs may take long) in the last minute or the last few."""
    if recent := _recent_pace(look) or sum(paces(look.minutes, look.books.now_ms, "done", "failed")):
        return recent
    minutes = last(look.minutes)
    ended = sum(counts.get(name, 0) for counts in minutes.values() for name in ("done", "failed"))
    return ended / _passed(minutes, look.books.now_ms)


def _recent_pace(look: Look) -> float:
    """Jobs a minute, of the time in which something waited; 0 where that is too short, or nothing ended."""
    books, worked_ms, ended = look.books, 0, 0
    totals = sum(books.totals.get(name, 0) for name in ("done", "failed"))
    notes = [Recent(books.now_ms, books.sizes["queued"], totals), *look.recent]
    for after, before in pairwise(note for note in notes if books.now_ms - note.at_ms <= RECENT_MS):
        # Where nothing waited before, what waits longest now says since when something has.
        began = before.at_ms if before.waiting else max(before.at_ms, books.waits_since_ms or after.at_ms)
        if after.waiting and began < after.at_ms:
            worked_ms, ended = worked_ms + after.at_ms - began, ended + max(0, after.ended - before.ended)
    return ended * 60_000 / worked_ms if worked_ms >= LEAST_MS else 0.0


def crew(look: Look) -> tuple[int, int, int]:
    """How many workers live, how many threads they have and how many of these are busy."""
    living = look.living()
    return (
        len(living),
        sum(info.get("threads", 0) for info in living),
        sum(len(info.get("running", ())) for info in living),
    )


def types_of(look: Look) -> set[str]:
    """The types that a living worker has a handler for."""
    return {name for info in look.living() for name in info.get("types", ())}
