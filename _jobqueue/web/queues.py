"""The calls that show queues and workers, limit or pause a queue and check it."""

from __future__ import annotations

from typing import Any

import bottle

from _jobqueue.errors import QueueNotFound
from _jobqueue.records import NAME, NAME_RULE
from _jobqueue.rfc3339 import rfc3339
from _jobqueue.web import inputs
from _jobqueue.web.backend import Backend
from _jobqueue.web.overview import queue_row, worker_rows
from _jobqueue.web.problems import Problem
from jobqueue import Conflict, Invalid

MAX_CHECKED_JOBS = 100_000  # checked in some seconds
MAX_SENTENCES = 100  # of the checker, in one answer


def queues(backend: Backend) -> dict[str, Any]:
    return {"queues": [queue_row(queue, books) for queue, books in backend.jobs.all_books().items()]}


def delete(backend: Backend, queue: str) -> None:
    """Forget a queue that holds no jobs."""
    try:
        backend.jobs.delete_queue(queue)
    except Conflict as error:
        raise Problem(409, "queue_not_empty", str(error)) from None
    bottle.response.status = 204


def limit(backend: Backend, queue: str) -> dict[str, Any]:
    """Say how many jobs may wait in a queue, which need not exist yet."""
    if not NAME.fullmatch(queue):
        raise Invalid([("/queue", NAME_RULE)])
    sent = inputs.members(inputs.body(backend.config.max_body_bytes), "max_queued")
    if not sent:
        raise Invalid([("/max_queued", "is missing: give a number, or null for no limit")])
    most = sent["max_queued"]
    # By JSON Schema 51.0 is a whole number, and some languages write it so.
    backend.jobs.limit_waiting(queue, int(most) if isinstance(most, float) and most.is_integer() else most)
    return queue_row(queue, backend.jobs.books(queue))


def pause(backend: Backend, queue: str, paused: bool = True) -> dict[str, Any]:
    inputs.no_body()
    backend.jobs.pause(queue, paused)
    return queue_row(queue, backend.jobs.books(queue))


def resume(backend: Backend, queue: str) -> dict[str, Any]:
    return pause(backend, queue, False)


def pause_type(backend: Backend, queue: str, job_type: str, paused: bool = True) -> dict[str, Any]:
    inputs.no_body()
    if not NAME.fullmatch(job_type):
        raise Invalid([("/type", NAME_RULE)])
    try:
        backend.jobs.pause_type(queue, job_type, paused)
    except Conflict as error:
        raise Problem(409, "old_worker", str(error)) from None
    return queue_row(queue, backend.jobs.books(queue))


def resume_type(backend: Backend, queue: str, job_type: str) -> dict[str, Any]:
    return pause_type(backend, queue, job_type, False)


def check(backend: Backend, queue: str) -> dict[str, Any]:
    """Run the checker on a queue of moderate size: it holds a thread for some seconds, so one at a time."""
    inputs.no_body()
    jobs = backend.jobs
    if queue not in jobs.queues():
        raise QueueNotFound(queue)
    if (n := sum(jobs.books(queue).sizes.values())) > MAX_CHECKED_JOBS:
        where = f"python jobqueue.py check --queue {queue}"
        raise Problem(409, "too_many_jobs", f"{n} jobs take too long to check from here; run: {where}")
    if not backend.checking.acquire(blocking=False):
        raise Problem(409, "check_running", "another check is running in this process; try again when it has ended")
    try:
        wrong, checked_ms = jobs.check(queue), jobs.books(queue).checked_ms
    finally:
        backend.checking.release()
    shown = wrong[:MAX_SENTENCES]
    return {"queue": queue, "problems": shown, "more": len(wrong) - len(shown), "checked_at": rfc3339(checked_ms)}


def workers(backend: Backend) -> dict[str, Any]:
    looks = backend.jobs.looks()
    return {"workers": [row for queue, look in looks.items() for row in worker_rows(queue, look)]}
