"""Jobs and rows that tests write."""

from __future__ import annotations

from typing import Any

from _jobqueue.record.row import Row
from _jobqueue.records import Job
from _jobqueue.rfc3339 import rfc3339
from _jobqueue.store.ids import new_id

T0 = 1_798_000_000_000  # 2026-12-23


def a_job(n: int = 0, **fields: Any) -> Job:
    """A job that was submitted ``n`` seconds after T0, and done at once."""
    at = T0 + 1000 * n
    known = {
        "id": new_id(1),
        "status": "done",
        "type": "email.send",
        "queue": "default",
        "priority": 5,
        "payload": {"to": f"ada{n}@example.org"},
        "result": {"sent": n},
        "attempts": 1,
        "max_attempts": 2,
        "timeout_ms": 10_000,
        "created_ms": at,
        "started_ms": at + 5,
        "finished_ms": at + 50,
        "worker": "host-7-abcd",
    }
    return Job(**(known | fields))


def an_error(n: int = 1, **fields: Any) -> dict[str, Any]:
    at = T0 + 1000 * n
    known = {"attempt": n, "started_at": rfc3339(at), "at": rfc3339(at + 20), "kind": "ValueError"}
    return known | {"message": f"no {n}", "traceback": f"line {n}", "worker": "host-7-abcd"} | fields


def failed(n: int = 0, **fields: Any) -> Job:
    return a_job(n, **{"status": "failed", "result": None, "errors": [an_error(1)], **fields})


def waiting(n: int = 0, **fields: Any) -> Job:
    none = {"status": "queued", "result": None, "attempts": 0, "started_ms": None, "finished_ms": None, "worker": None}
    return a_job(n, **{**none, **fields})


def rows_of(*jobs: Job, rev: int = 1) -> list[Row]:
    return [Row(job, rev + n) for n, job in enumerate(jobs)]
