"""What the checker says of a queue's schedules."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress

from _jobqueue.errors import Invalid, JobQueueError
from _jobqueue.store import scans
from _jobqueue.store.schedules import Schedules
from _jobqueue.store.store import Store, prefix_of

LATE_MS = 60_000
AGAIN_S = 0.3


def schedule_problems(store: Store, queue: str, schedules: Schedules, repair: bool) -> Iterator[str]:
    """Sentences; what is seen twice counts, for a schedule may be changed between two reads."""
    suspects = {name: said for name in _names(store, queue) if (said := _problem(store, queue, name, schedules))}
    if suspects:
        time.sleep(AGAIN_S)
    for name in suspects:
        if said := _problem(store, queue, name, schedules):
            yield f"the schedule {name} {said}"
            if repair:
                _repair(store, queue, name, schedules)


def _names(store: Store, queue: str) -> list[str]:
    return sorted({*scans.keys(store, queue, "schedule:"), *scans.members(store, queue, ["schedules"])})


def _problem(store: Store, queue: str, name: str, schedules: Schedules) -> str:
    """What is wrong with one; '' when nothing is."""
    prefix = prefix_of(queue)
    score, there = store.ask("ZSCORE", f"{prefix}schedules", name), store.ask("EXISTS", f"{prefix}schedule:{name}")
    if score is None:
        return "is in no index: it never fires" if there else ""
    if not there:
        return "is due some time but has no hash"
    try:
        planned = schedules.get(queue, name)
        if planned.due_ms is not None:
            planned.schedule.timetable.next(planned.now_ms)
    except JobQueueError as error:
        return f"cannot be read: {error}"
    except (ValueError, LookupError, TypeError) as error:
        return f"cannot be read: {error!r}"
    if planned.paused and planned.due_ms is not None:
        return "is paused but due some time"
    if not planned.paused and planned.due_ms is None and planned.schedule.timetable.ends_ms is None:
        return "is not paused but never due"
    if planned.due_ms is not None and planned.now_ms - planned.due_ms > LATE_MS:
        return "was due over a minute ago and nobody fired it; is a reaper running?"
    return ""


def _repair(store: Store, queue: str, name: str, schedules: Schedules) -> None:
    """Takes what has no hash out of the index; puts what is in none, or wrongly there, at its next due time."""
    prefix = prefix_of(queue)
    if not store.ask("EXISTS", f"{prefix}schedule:{name}"):
        store.run("unplan", queue, [name])
        return
    store.ask("ZADD", f"{prefix}schedules", "NX", "inf", name)
    with suppress(Invalid, ValueError, LookupError, TypeError):
        schedules.realign(queue, name)
