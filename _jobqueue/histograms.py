"""Histograms of waiting and running times, as counters of a queue."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping

Counts = Mapping[str, int]  # counters by their names

# Upper bounds.
BUCKETS_MS = (1, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 300_000, 1_800_000)

_BUCKETS = {kind: [f"{kind}:{bound}" for bound in (*BUCKETS_MS, "inf")] for kind in ("wait", "run")}
_SUMS = {kind: f"{kind}:sum" for kind in _BUCKETS}


def add_time(counts: Counter[str], kind: str, ms: float) -> None:
    """Adds 1 to the counter of the duration's bucket (``<kind>:<upper bound in ms>``), and the duration to the sum."""
    counts[_BUCKETS[kind][bisect_left(BUCKETS_MS, ms)]] += 1
    counts[_SUMS[kind]] += round(ms)
