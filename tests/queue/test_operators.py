"""What an operator does to a job, on a real Redis, in every status and said twice.

Time passes by moving scores: nothing here waits."""

from __future__ import annotations

import pytest

from _jobqueue.records import Held
from _jobqueue.store.ids import new_id
from jobqueue import Conflict, JobQueue, NotFound
from tests.harness import Server
from tests.played import (
    Worker,
    ended,
    ids,
    run_script,
    snapshot,
    total,
)

pytestmark = pytest.mark.usefixtures("in_the_end_all_is_well")


# -------------------------------------------------------------------------------------------------------------- cancel


@pytest.mark.parametrize("delay_s", [None, 60], ids=["queued", "scheduled"])
def test_waiting_job_is_cancelled_at_once(
    delay_s: float | None, queue: JobQueue, server: Server, worker: Worker
) -> None:
    job = queue.submit(delay_s=delay_s)
    assert queue.cancel(job.id) == "cancelled"
    before = snapshot(server)
    assert queue.cancel(job.id) == "cancelled"
    assert snapshot(server) == before
    assert worker.claim() == []
    assert queue.get(job.id).status == "cancelled"


def test_handler_of_a_running_job_is_asked_to_stop(queue: JobQueue, worker: Worker) -> None:
    queue.submit()
    [job] = worker.claim()
    assert [queue.cancel(job.id) for _ in range(2)] == ["asked", "asked"]
    assert queue.get(job.id).status == "processing"
    assert worker.beat(Held(job.id, job.token, 60_000)) == ["cancel"]
    assert worker.settle(ended(job, "cancelled")) == [True]
    assert (queue.get(job.id).status, total(queue, "cancelled")) == ("cancelled", 1)


@pytest.mark.parametrize("outcome", ["failed", "released"])
def test_job_that_was_asked_to_cancel_does_not_run_again(outcome: str, queue: JobQueue, worker: Worker) -> None:
    queue.submit()
    [job] = worker.claim()
    queue.cancel(job.id)
    worker.settle(ended(job, outcome))
    assert queue.get(job.id).status == "cancelled"
    assert worker.claim() == []


@pytest.mark.parametrize("status", ["done", "failed"])
def test_ended_job_cannot_be_cancelled(status: str, queue: JobQueue, server: Server, worker: Worker) -> None:
    queue.submit(max_attempts=1)
    [job] = worker.claim()
    worker.settle(ended(job, status))
    before = snapshot(server)
    with pytest.raises(Conflict) as conflict:
        queue.cancel(job.id)
    assert conflict.value.status == status
    assert snapshot(server) == before


@pytest.mark.parametrize("operation", ["cancel", "retry", "get"])
def test_job_that_does_not_exist_is_not_found(operation: str, queue: JobQueue, server: Server) -> None:
    queue.submit()
    before = snapshot(server)
    with pytest.raises(NotFound):
        getattr(queue, operation)(new_id(0))
    assert snapshot(server) == before


# ------------------------------------------------------------------------------------------------- an operator's retry


def test_retried_job_goes_to_the_end_of_its_priority_with_new_attempts(queue: JobQueue, worker: Worker) -> None:
    queue.submit(max_attempts=1)
    [job] = worker.claim()
    worker.settle(ended(job, "failed"))
    same, lower = queue.submit(), queue.submit(priority=4)
    assert queue.retry(job.id) == "retried"
    stored = queue.get(job.id)
    assert (stored.attempts, stored.finished_ms, stored.worker) == (0, None, None)
    assert ids(worker.claim(3)) == [same.id, job.id, lower.id]


def test_cancelled_job_can_be_retried(queue: JobQueue, worker: Worker) -> None:
    queue.submit()
    [job] = worker.claim()
    queue.cancel(job.id)
    worker.settle(ended(job, "cancelled"))
    queue.retry(job.id)
    [again] = worker.claim()
    assert worker.beat(Held(again.id, again.token, 60_000)) == ["ok"]
    assert worker.settle(ended(job)) == [False]
    assert worker.settle(ended(again)) == [True]


@pytest.mark.parametrize("status", ["queued", "scheduled", "processing", "done"])
def test_only_a_failed_or_cancelled_job_can_be_retried(
    status: str, queue: JobQueue, server: Server, worker: Worker
) -> None:
    job = queue.submit(delay_s=60 if status == "scheduled" else None)
    if status in ("processing", "done"):
        claimed = worker.claim()
        worker.settle(*[ended(job) for job in claimed if status == "done"])
    before = snapshot(server)
    with pytest.raises(Conflict) as conflict:
        queue.retry(job.id)
    assert conflict.value.status == status
    assert snapshot(server) == before


def test_retry_sent_twice_retries_once(queue: JobQueue, server: Server, worker: Worker) -> None:
    queue.submit(max_attempts=1)
    [job] = worker.claim()
    worker.settle(ended(job, "failed"))
    assert run_script(queue, "retry", "default", ["one request", 1, job.id]) == [b"retried"]
    worker.settle(ended(worker.claim()[0], "failed"))
    before = snapshot(server)
    assert run_script(queue, "retry", "default", ["one request", 1, job.id]) == [b"retried"]
    assert snapshot(server) == before
    assert run_script(queue, "retry", "default", ["another request", 1, job.id]) == [b"retried"]
    assert total(queue, "requeued") == 2
