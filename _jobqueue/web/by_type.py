"""Figures by job type: which of them makes a queue grow."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from _jobqueue.books import Look
from _jobqueue.by_type import OTHER, ByType, Waiting, came_before, starts, summed
from _jobqueue.histograms import Counts
from _jobqueue.web.rates import WINDOW, paces, percentiles, types_of
from _jobqueue.web.samples import Family, histogram
from jobqueue import JobQueue

KEPT_S = 1.0  # for whoever else looks
DEAD_KEPT_S = 3.0  # the same for dead letters
ROWS_MOST = 200  # of all queues, in one answer
LABELS_MOST = 100  # types of all queues that have a label of their own
NOTHING = Waiting(0, 0, 0)

Row = dict[str, Any]


class Types:
    """The types of all queues, at most KEPT_S old. Thread-safe."""

    def __init__(self, jobs: JobQueue) -> None:
        self._jobs = jobs
        self._kept: tuple[float, dict[str, ByType]] = (-math.inf, {})  # replaced as a whole

        self._dead: tuple[float, dict[str, tuple[dict[str, int], bool]]] = (-math.inf, {})

    def dead(self) -> dict[str, tuple[dict[str, int], bool]]:
        """Dead letters by type, at most DEAD_KEPT_S old."""
        read_at, found = self._dead
        if time.monotonic() - read_at > DEAD_KEPT_S:
            found = self._jobs.sums.dead(self._jobs.queues())
            self._dead = time.monotonic(), found
        return found

    def look(self) -> dict[str, ByType]:
        read_at, found = self._kept
        if time.monotonic() - read_at > KEPT_S:
            found = self._jobs.by_type(minutes=WINDOW)
            self._kept = time.monotonic(), found
        return found


def rows_of(looks: Mapping[str, Look], found: Mapping[str, ByType]) -> list[Row]:
    """A row for each type of each queue that has jobs, was counted lately, is paused, or has a handler. The one that grows most
    comes first."""
    rows = [row for queue, look in looks.items() if queue in found for row in _rows(queue, look, found[queue])]
    return sorted(rows, key=lambda row: (-max(0, row["growth_per_minute"]), -row["waiting"], row["queue"], row["type"]))


def full_rows_of(looks: Mapping[str, Look], types: Types) -> list[Row]:
    """The same with what takes more to find: what comes, dead letters, the share of the time that is worked."""
    found, dead = types.look(), types.dead()
    rows = rows_of(looks, found)
    known = {(row["queue"], row["type"]) for row in rows}
    rows += [
        row
        for queue, look in looks.items()
        for name in dead.get(queue, ({}, True))[0]
        if (queue, name) not in known and queue in found
        for row in [_row(queue, name, look, found[queue])]
    ]
    ran = {(row["queue"], row["type"]): _ran_ms(found[row["queue"]], row["type"]) for row in rows}
    all_ms = sum(ran.values())
    for row in rows:
        queue, name = row["queue"], row["type"]
        counts, exact = dead.get(queue, ({}, True))
        row["submitted_per_minute"] = round(_arrivals(found[queue], name), 1)
        row["dead"], row["dead_exact"] = counts.get(name, 0), exact
        row["share"] = round(ran[queue, name] / all_ms, 4) if all_ms else None
    return rows


def _ran_ms(found: ByType, name: str) -> int:
    return sum(types.get(name, {}).get("run:sum", 0) for types in found.minutes.values())


def _rows(queue: str, look: Look, found: ByType) -> Iterator[Row]:
    running = {run.get("type", "") for info in look.living() for run in info.get("running", ())}
    counted = {name for types in found.minutes.values() for name in types}
    for name in {*types_of(look), *look.books.paused_types, *running, *counted, *found.waiting}:
        yield _row(queue, name, look, found)


def _row(queue: str, name: str, look: Look, found: ByType) -> Row:
    running = sum(run.get("type", "") == name for info in look.living() for run in info.get("running", ()))
    waiting = found.waiting.get(name, NOTHING)
    minutes = {minute: types.get(name, {}) for minute, types in found.minutes.items()}
    done, failed = paces(minutes, found.now_ms, "done", "failed")
    return {
        "queue": queue,
        "type": name,
        "waiting": round(waiting.jobs),
        "exact": found.exact,
        "running": running,
        "oldest_age_s": (found.now_ms - waiting.since_ms) / 1000 if waiting.jobs else None,
        "growth_per_minute": round(_growth(waiting, minutes, found), 1) + 0.0,  # no -0.0
        "done_per_minute": round(done, 1),
        "failed_per_minute": round(failed, 1),
        **percentiles(summed(minutes.values())),
        "handled": name in types_of(look),
        "paused": name in look.books.paused_types,
    }


def _arrivals(found: ByType, name: str) -> float:
    """How many jobs of a type come in a minute: those that have started lately, and what waits more than before."""
    minutes = {minute: types.get(name, {}) for minute, types in found.minutes.items()}
    first, passed_ms = found.lately_ms // 60_000, found.now_ms - found.lately_ms
    begun = starts(minutes.get(first, {})) + starts(minutes.get(first + 1, {}))
    return max(0.0, begun * 60_000 / passed_ms + _growth(found.waiting.get(name, NOTHING), minutes, found))


def _growth(waiting: Waiting, minutes: Mapping[int, Counts], found: ByType) -> float:
    """How many more wait than a minute ago: those that came lately and still wait, less those that have started lately and came
    before that."""
    first, passed_ms = found.lately_ms // 60_000, found.now_ms - found.lately_ms
    started = came_before(minutes.get(first, {}), 0, 60_000)
    started += came_before(minutes.get(first + 1, {}), 60_000, max(1, passed_ms - 60_000))
    return (waiting.came - started) * 60_000 / passed_ms


# --------------------------------------------------------------------------------------------------------- for Prometheus


def families(looks: Mapping[str, Look], found: Mapping[str, ByType]) -> Iterator[Family]:
    """A label for each type of the first LABELS_MOST that were ever counted, then of those that wait most; the rest is `other`."""
    rows = rows_of(looks, found)
    ever = {(queue, name): counts for queue, types in found.items() for name, counts in types.ever.items()}
    first = sorted(ever, key=lambda place: (ever[place].get("since", 0), place))
    shown = set([*dict.fromkeys([*first, *((row["queue"], row["type"]) for row in rows)])][:LABELS_MOST])

    def labels(queue: str, name: str) -> tuple[str, str]:
        return queue, name if (queue, name) in shown else OTHER

    counts: dict[tuple[str, str], Counter[str]] = {}
    for (queue, name), its in ever.items():
        counts.setdefault(labels(queue, name), Counter()).update(its)
    gauges: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        gauges.setdefault(labels(row["queue"], row["type"]), []).append(row)
    yield from _gauges(gauges)
    yield from _counters(counts)


def _gauges(gauges: Mapping[tuple[str, str], list[Row]]) -> Iterator[Family]:
    def gauge(name: str, text: str, value: Any) -> Family:
        return name, "gauge", text, [(_labels(place), value(rows)) for place, rows in gauges.items()]

    yield gauge(
        "type_waiting",
        "Queued jobs of a type; an estimate in a long queue.",
        lambda rows: sum(row["waiting"] for row in rows),
    )
    yield gauge("type_running", "Running jobs of a type.", lambda rows: sum(row["running"] for row in rows))
    yield gauge(
        "type_oldest_queued_seconds",
        "Age of the job of a type that has waited longest; at least, in a long queue.",
        lambda rows: max(row["oldest_age_s"] or 0 for row in rows),
    )
    yield gauge(
        "type_handled", "1 while a living worker handles it.", lambda rows: int(all(r["handled"] for r in rows))
    )
    yield gauge("type_paused", "1 while the type is paused.", lambda rows: int(any(row["paused"] for row in rows)))


def _counters(counts: Mapping[tuple[str, str], Counter[str]]) -> Iterator[Family]:
    attempts = [
        (_labels(place) | {"outcome": outcome}, float(its[outcome]))
        for place, its in counts.items()
        for outcome in ("done", "failed")
    ]
    yield "type_attempts_total", "counter", "Attempts of a type that have ended, by outcome.", attempts
    for kind, text in (
        ("wait", "From when a job of a type could run to its first start."),
        ("run", "How long attempts of a type ran."),
    ):
        samples = [sample for place, its in counts.items() for sample in histogram(_labels(place), its, kind)]
        yield f"type_{kind}_seconds", "histogram", text, samples


def _labels(place: tuple[str, str]) -> dict[str, str]:
    return {"queue": place[0], "type": place[1]}
