"""Jobs that run far longer than others of their type did."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

from _jobqueue.books import Look
from _jobqueue.by_type import ByType
from _jobqueue.histograms import BUCKETS_MS, Counts
from _jobqueue.web.findings import About, Finding
from _jobqueue.web.rates import percentile

FAR = 5  # times as long as 95 % of the type's attempts
LEAST_MS = 30_000  # what has run for less is not told of, however short its type is
ENOUGH = 20  # attempts of a type, before it is known how long they take
ID_CHARS = 8  # of a job's: enough to find it


def long_runs(queue: str, look: Look, types: ByType | None, span: Callable[[float], str]) -> Iterator[Finding]:
    """One for each type of the queue. ``types``: its figures; ``span``: a length of time in ms for people."""
    now_ms = look.books.now_ms
    for job_type, runs in _running(look).items():
        usual_ms = usual_of(types.ever.get(job_type, {}) if types else {})
        if usual_ms is None:
            continue
        limit_ms = max(FAR * usual_ms, LEAST_MS)
        late = sorted(((ms, job_id) for ms, job_id in runs if ms > limit_ms), reverse=True)
        if not late:
            continue
        longest_ms, job_id = late[0]
        has = "1 job has" if len(late) == 1 else f"{len(late)} jobs have"
        which = f"{job_id[:ID_CHARS]}, for {span(longest_ms)}"
        yield Finding(
            "runs_long",
            f"queue {queue}: {has} run far longer than the type {job_type} does ({which if len(late) == 1 else f'the longest: {which}'}; "
            f"95 % of its attempts took {span(usual_ms)} at most): see what keeps it, or stop it",
            queue,
            f"{job_type} has run for {span(longest_ms)}, usually {span(usual_ms)} at most",
            jobs=len(late),
            since_ms=now_ms - longest_ms + limit_ms,
            about=About(type=job_type, job_id=job_id),
        )


def usual_of(ever: Counts) -> int | None:
    """What 95 % of a type's attempts did not exceed, in ms; None where that is not known: too few have ended, or they took longer
    than the last bound of the histogram."""
    runs = sum(ever.get(f"run:{bound}", 0) for bound in (*BUCKETS_MS, "inf"))
    p95_ms = percentile(ever, "run", 0.95) if runs >= ENOUGH else None
    return None if p95_ms is None or p95_ms >= BUCKETS_MS[-1] else p95_ms


def _running(look: Look) -> dict[str, list[tuple[float, str]]]:
    """For each type, how long each of its jobs has run, in ms, and the job's id."""
    found = defaultdict(list)
    for info in look.living():
        for run in info.get("running", ()):
            found[run.get("type", "")].append((_ran_ms(run, info, look.books.now_ms), run["job_id"]))
    return found


def _ran_ms(run: dict[str, Any], info: dict[str, Any], now_ms: int) -> float:
    """Up to now: it was told at the last beat."""
    return float(1000 * run.get("for_s", 0) + max(0, now_ms - info["beat_ms"]))
