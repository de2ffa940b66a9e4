"""What becomes of jobs two levels below one that ends in any way while they wait (F65)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest

from jobqueue import Job, JobQueue, NewJob
from tests.harness import Server
from tests.played import DAY_MS, RETENTION_MS, Q, Worker, now_ms, tick

pytestmark = pytest.mark.usefixtures("in_the_end_all_is_well")

Fate = Callable[[JobQueue, Server, Worker, str], None]
GONE = "gone"


def is_done(queue: JobQueue, server: Server, worker: Worker, parent: str) -> None:
    assert worker.give("done") == [parent]


def is_dead(queue: JobQueue, server: Server, worker: Worker, parent: str) -> None:
    assert worker.give("failed") == [parent]


def is_reaped(queue: JobQueue, server: Server, worker: Worker, parent: str) -> None:
    worker.claim()
    worker.running = []
    server.client.zadd(f"{Q}leases", {parent: now_ms(server) - 1})
    tick(queue)


def is_cancelled(queue: JobQueue, server: Server, worker: Worker, parent: str) -> None:
    queue.cancel(parent)


def is_cancelled_while_it_runs(queue: JobQueue, server: Server, worker: Worker, parent: str) -> None:
    worker.claim()
    queue.cancel(parent)
    worker.end("cancelled")


def is_expired(queue: JobQueue, server: Server, worker: Worker, parent: str) -> None:
    server.client.zadd(f"{Q}expires", {parent: now_ms(server) - 1})
    tick(queue)


def is_deleted(queue: JobQueue, server: Server, worker: Worker, parent: str) -> None:
    queue.delete(parent)


def is_dead_and_deleted(queue: JobQueue, server: Server, worker: Worker, parent: str) -> None:
    is_dead(queue, server, worker, parent)
    queue.delete(parent)


def is_dead_and_trimmed(queue: JobQueue, server: Server, worker: Worker, parent: str) -> None:
    is_dead(queue, server, worker, parent)
    server.client.zadd(f"{Q}failed", {parent: now_ms(server) - 8 * DAY_MS})
    tick(queue, retention_ms=RETENTION_MS)


def is_retried_and_done(first: Fate) -> Fate:
    def fate(queue: JobQueue, server: Server, worker: Worker, parent: str) -> None:
        first(queue, server, worker, parent)
        queue.retry(parent)
        while parent not in worker.give("done"):
            pass

    return fate


class Row(NamedTuple):
    """The parent's end, then what is so of: the job that wants it done, the one behind that; the job that wants it ended."""

    fate: Fate
    parent: str
    child: str
    grandchild: str
    callback: str


CANCELLED, BLOCKED = ("cancelled", "cancelled", "queued"), ("blocked", "blocked", "queued")
FATES = {
    "done": Row(is_done, "done", "queued", "blocked", "queued"),
    "dead": Row(is_dead, "failed", *BLOCKED),
    "reaped to death": Row(is_reaped, "failed", *BLOCKED),
    "cancelled": Row(is_cancelled, "cancelled", *CANCELLED),
    "cancelled while it runs": Row(is_cancelled_while_it_runs, "cancelled", *CANCELLED),
    "expired": Row(is_expired, "cancelled", *CANCELLED),
    "deleted": Row(is_deleted, GONE, *CANCELLED),
    "dead and deleted": Row(is_dead_and_deleted, GONE, *CANCELLED),
    "dead and trimmed": Row(is_dead_and_trimmed, GONE, *CANCELLED),
    "dead, retried, done": Row(is_retried_and_done(is_dead), "done", "queued", "blocked", "done"),
    "cancelled, retried, done": Row(is_retried_and_done(is_cancelled), "done", "cancelled", "cancelled", "done"),
    "expired, retried, done": Row(is_retried_and_done(is_expired), "done", "cancelled", "cancelled", "done"),
}


@pytest.mark.parametrize("name", FATES)
def test_f65_what_waits_two_levels_below_follows(name: str, queue: JobQueue, server: Server, worker: Worker) -> None:
    row = FATES[name]
    answers = queue.submit_many(
        [
            NewJob(name="parent", max_attempts=1, expires_s=60),
            NewJob(name="child", after=["parent"], priority="low"),
            NewJob(name="grandchild", after=["child"], priority="low"),
            NewJob(name="callback", after=["parent"], when="ended", priority="high"),
        ]
    )
    jobs = [answer.job for answer in answers if answer.job]
    row.fate(queue, server, worker, jobs[0].id)
    tick(queue)
    assert [status_of(queue, job) for job in jobs] == [row.parent, row.child, row.grandchild, row.callback]
    assert server.client.exists(f"{Q}ends") == 0
    assert queue.check("default") == [] and queue.books("default").missing == 0
    ends_well(queue, worker, jobs)


def status_of(queue: JobQueue, job: Job) -> str:
    found = queue.act_on("delete", [job.id], dry_run=True)
    return GONE if "not_found" in found.skipped else queue.get(job.id).status


def ends_well(queue: JobQueue, worker: Worker, jobs: list[Job]) -> None:
    """All that is there is retried, in the wrong order, and done in the right one."""
    there = [job.id for job in jobs if status_of(queue, job) != GONE]
    queue.act_on("retry", reversed(there))
    done: list[str] = []
    while claimed := worker.claim():
        worker.end("done")
        done += [job.id for job in claimed]
    assert {queue.get(job_id).status for job_id in there} == {"done"}
    order = [job.id for job in jobs[:3] if job.id in done]
    assert sorted(order, key=done.index) == order
