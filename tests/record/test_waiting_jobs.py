"""What the record keeps of jobs that wait for others, must start within some time, or are snoozed."""

from __future__ import annotations

import pytest

from _jobqueue.record.database import Record
from _jobqueue.records import IN_PLACE
from jobqueue import Job, JobQueue
from tests.harness import Server
from tests.played import Q, Worker, now_ms, tick
from tests.record.keeping import history_of, rows_in, until_quiet

PARENTS = 6  # more than stand in the hash of one that waits for them


def child_of_many(queue: JobQueue) -> Job:
    parents = [queue.submit().id for _ in range(PARENTS)]
    child = queue.submit(after=parents)
    assert child.after == parents
    return child


@pytest.mark.parametrize("trimmed", [False, True])
def test_it_keeps_all_that_a_job_has_waited_for(trimmed: bool, queue: JobQueue, worker: Worker, record: Record) -> None:
    history = history_of(queue, record)
    until_quiet(history)
    child = child_of_many(queue)
    if trimmed:  # before it was written
        worker.give("done", PARENTS)
        worker.give("done")
        tick(queue, retention_ms={"done": 0})
        assert queue.page().jobs == []
    until_quiet(history)
    row = record.get(child.id)
    assert row and row.job.after == child.after


def test_it_keeps_that_a_job_has_not_started_in_time(
    queue: JobQueue, server: Server, record: Record, history_url: str
) -> None:
    history = history_of(queue, record)
    until_quiet(history)
    job = queue.submit(expires_s=60)
    until_quiet(history)
    row = record.get(job.id)
    assert row and (row.job.expires_ms, row.job.expires_at_ms) == (60_000, job.expires_at_ms)
    server.client.zadd(f"{Q}expires", {job.id: now_ms(server) - 1})
    tick(queue)
    until_quiet(history)
    [kept] = rows_in(history_url, "SELECT status, kind, error FROM job")
    assert (kept["status"], kept["kind"]) == ("cancelled", "expired")
    [ended] = rows_in(history_url, "SELECT outcome, kind, attempt FROM attempt")
    assert (ended["outcome"], ended["kind"], ended["attempt"]) == ("cancelled", "expired", 0)


def test_a_snooze_is_counted_and_is_no_attempt(
    queue: JobQueue, worker: Worker, record: Record, history_url: str
) -> None:
    history = history_of(queue, record)
    until_quiet(history)
    job = queue.submit(max_attempts=3)
    worker.claim()
    worker.end("failed", delay_ms=IN_PLACE)
    for _ in range(2):
        worker.claim()
        worker.end("snoozed", delay_ms=60_000)
        queue.run_now(job.id)
    queue.cancel(job.id)
    until_quiet(history)
    row = record.get(job.id)
    assert row and (row.job.snoozes, row.job.status) == (2, "cancelled")
    assert [attempt["outcome"] for attempt in rows_in(history_url, "SELECT outcome FROM attempt")] == ["failed"]
