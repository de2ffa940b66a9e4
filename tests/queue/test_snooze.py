"""A handler that puts its job off: no attempt, and the job comes back."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from _jobqueue.records import Claimed, Settlement
from jobqueue import JobQueue
from tests.harness import Server
from tests.played import Q, Worker, ended, now_ms, passes, score, snapshot, tick, total

pytestmark = pytest.mark.usefixtures("in_the_end_all_is_well")


def snoozed(job: Claimed, delay_ms: int = 30_000, fields: Sequence[str] = (), token: str = "") -> Settlement:
    return Settlement(job.id, token or job.token, "snoozed", delay_ms, fields=list(fields))


def snooze(worker: Worker, delay_ms: int = 30_000) -> Claimed:
    [job] = worker.claim()
    assert worker.settle(snoozed(job, delay_ms)) == [True]
    worker.running = []
    return job


def test_snoozed_job_waits_and_no_attempt_is_counted(queue: JobQueue, server: Server, worker: Worker) -> None:
    queue.submit(max_attempts=1)
    job = snooze(worker)
    stored, now = queue.get(job.id), now_ms(server)
    assert (stored.status, stored.attempts, stored.snoozes) == ("scheduled", 0, 1)
    assert stored.snoozed_ms and now - 5000 < stored.snoozed_ms <= now
    assert score(server, "scheduled", job.id) == stored.run_at_ms == stored.snoozed_ms + 30_000
    assert server.client.exists(f"{Q}leases", f"{Q}processing:w-1") == 0
    assert total(queue, "snoozed") == 1 and total(queue, "retried") == 0
    assert queue.get(job.id).as_dict()["snoozes"] == 1


def test_snoozed_job_runs_again_with_the_same_attempt(queue: JobQueue, server: Server, worker: Worker) -> None:
    queue.submit(max_attempts=2, backoff_s=1)
    for _ in range(3):
        passes(server, "scheduled", snooze(worker))
        tick(queue)
    [job] = worker.claim()
    assert job.attempt == 1
    worker.settle(ended(job, "failed"))
    stored = queue.get(job.id)
    assert (stored.status, stored.attempts, stored.snoozes, len(stored.errors)) == ("scheduled", 1, 3, 1)
    failed_at = int(server.client.hget(f"{Q}job:{job.id}", "error:1").split()[0])
    assert score(server, "scheduled", job.id) == failed_at + 1000


def test_what_the_handler_has_told_is_kept(queue: JobQueue, worker: Worker) -> None:
    queue.submit()
    [job] = worker.claim()
    worker.settle(snoozed(job, fields=["log", "not yet", "progress", '{"fraction": 0.5, "note": ""}']))
    stored = queue.get(job.id)
    assert (stored.log, stored.progress) == (["not yet"], {"fraction": 0.5, "note": ""})


@pytest.mark.parametrize("claims", [False, True])
def test_snooze_sent_twice_counts_once(claims: bool, queue: JobQueue, server: Server, worker: Worker) -> None:
    queue.submit()
    [job] = worker.claim()
    worker.running = []
    if claims:
        worker.exchange(snoozed(job))
        before = snapshot(server)
        assert worker.again() == ([True], [])
    else:
        worker.settle(snoozed(job))
        before = snapshot(server)
        assert worker.settle(snoozed(job)) == [True]
    assert snapshot(server) == before
    assert queue.get(job.id).snoozes == 1


def test_snooze_of_another_holder_is_refused(queue: JobQueue, server: Server, worker: Worker, other: Worker) -> None:
    queue.submit(max_attempts=3)
    [old] = worker.claim()
    passes(server, "leases", old)
    tick(queue)
    [job] = other.claim()
    assert worker.settle(snoozed(old)) == [False]
    assert (queue.get(job.id).status, queue.get(job.id).snoozes) == ("processing", 0)
    assert total(queue, "refused") == 1


def test_snooze_of_a_job_that_is_to_be_cancelled_cancels_it(queue: JobQueue, worker: Worker) -> None:
    job = queue.submit()
    worker.claim()
    assert queue.cancel(job.id) == "asked"
    worker.end("snoozed")
    stored = queue.get(job.id)
    assert (stored.status, stored.attempts, [error["kind"] for error in stored.errors]) == (
        "cancelled",
        1,
        ["cancelled"],
    )


def test_snoozed_job_can_be_cancelled_run_at_once_and_deleted(queue: JobQueue, worker: Worker) -> None:
    for _ in range(3):
        queue.submit()
    jobs = [snooze(worker) for _ in range(3)]
    assert queue.cancel(jobs[0].id) == "cancelled"
    assert queue.run_now(jobs[1].id) == "queued"
    queue.delete(jobs[2].id)
    assert worker.give("done") == [jobs[1].id]
    assert queue.get(jobs[1].id).snoozes == 1


def test_operators_retry_counts_snoozes_anew(queue: JobQueue, worker: Worker) -> None:
    queue.submit()
    job = snooze(worker)
    queue.cancel(job.id)
    queue.retry(job.id)
    assert (queue.get(job.id).snoozes, queue.get(job.id).snoozed_ms) == (0, None)


def test_job_that_snoozes_for_ever_fails(queue: JobQueue, server: Server, worker: Worker) -> None:
    job = queue.submit(max_attempts=5)
    worker.claim()
    server.client.hset(f"{Q}job:{job.id}", "snoozes", 9_999)
    worker.end("snoozed", delay_ms=0)
    assert (queue.get(job.id).status, queue.get(job.id).snoozes) == ("scheduled", 10_000)
    passes(server, "scheduled", job)
    tick(queue)
    worker.give("snoozed")
    stored = queue.get(job.id)
    assert (stored.status, stored.attempts) == ("failed", 1)
    assert [(error["kind"], error["message"]) for error in stored.errors] == [
        ("too_many_snoozes", "its handler has snoozed 10000 times")
    ]
    assert [kind.kind for kind in queue.kinds()] == ["too_many_snoozes"]
    assert total(queue, "errors:too_many_snoozes") == 1


def test_snoozed_job_keeps_its_unique_key_and_blocks_its_children(queue: JobQueue, worker: Worker) -> None:
    job = queue.submit(unique_key="u")
    child = queue.submit(after=[job.id])
    snooze(worker)
    assert queue.submit(unique_key="u").id == job.id
    assert queue.get(child.id).status == "blocked"
    assert worker.claim() == []


def test_due_time_is_at_most_a_year_away(queue: JobQueue, server: Server, worker: Worker) -> None:
    queue.submit()
    job = snooze(worker, 10**15)
    assert 0 < score(server, "scheduled", job.id) - now_ms(server) <= 31_536_000_000  # type: ignore[operator]
