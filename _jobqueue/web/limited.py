"""What limits hold back, in sentences and numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from _jobqueue.limits import Limited, Shut
from _jobqueue.rfc3339 import rfc3339
from _jobqueue.web.samples import Family


def what_holds_back(shut: Shut) -> str:
    """Why a job waits for a limit."""
    if shut.counting:
        return f"It waits for the limit {shut.name}, which is new and still counts what runs."
    if shut.opens_ms is None:
        return f"It waits for the limit {shut.name}: {shut.running} of {shut.limit.max_running} running."
    rate = f"{shut.limit.starts} in {shut.limit.per_s} s have started"
    return f"It waits for the limit {shut.name}: {rate}, the next may at {rfc3339(shut.opens_ms)}."


def with_limits(found: list[dict[str, Any]], limits: Mapping[str, Sequence[Limited]]) -> list[dict[str, Any]]:
    """Findings of health; where old jobs wait, with the limit that most of them wait for."""
    for finding in found:
        if finding["code"] == "old_job":
            most = max(limits.get(finding["queue"], ()), key=lambda limited: limited.waiting, default=None)
            if most and most.waiting:
                jobs = "1 job waits" if most.waiting == 1 else f"{most.waiting} jobs wait"
                finding["text"] += f" {jobs} for the limit {most.name} ({most.limit})."
    return found


def families(limits: Mapping[str, Sequence[Limited]]) -> Iterator[Family]:
    """None where no queue has limits."""
    rows = [({"queue": queue, "limit": each.name}, each) for queue, some in limits.items() for each in some if each.by]
    if not rows:
        return
    most = [(dict(labels), float(each.limit.max_running)) for labels, each in rows if each.limit.max_running]
    yield "limit_max_running", "gauge", "Jobs that may run at once under a limit; 100 limits a queue are told of.", most
    running = [(dict(labels), float(each.running)) for labels, each in rows]
    yield "limit_running", "gauge", "Jobs that run under a limit.", running
    waiting = [(dict(labels), float(each.waiting)) for labels, each in rows]
    yield "limit_waiting", "gauge", "Jobs that a worker has met and left for a limit.", waiting
