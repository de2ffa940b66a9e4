"""How a claim ends, on a real Redis: results, failures and their backoff, and what a slot leaves behind.

Time passes by moving scores: nothing here waits."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from _jobqueue.records import IN_PLACE, NEVER, Settlement
from jobqueue import JobQueue, NewJob, Policy
from tests.harness import Server
from tests.played import (
    Q,
    Worker,
    ended,
    passes,
    recover,
    score,
    snapshot,
    tick,
    total,
)

pytestmark = pytest.mark.usefixtures("in_the_end_all_is_well")
OUTCOMES = {"done": "done", "failed": "scheduled", "cancelled": "cancelled", "released": "queued"}


# -------------------------------------------------------------------------------------------------------------- settle


@pytest.mark.parametrize(("outcome", "status"), OUTCOMES.items())
def test_settled_job_leaves_its_slot_for_its_new_status(
    outcome: str, status: str, queue: JobQueue, server: Server, worker: Worker
) -> None:
    queue.submit()
    [job] = worker.claim()
    assert worker.exchange(ended(job, outcome), want=0) == ([True], [])
    stored = queue.get(job.id)
    assert stored.status == status
    assert stored.attempts == (0 if outcome == "released" else 1)
    assert stored.result == ("a result" if outcome == "done" else None)
    assert server.client.exists(f"{Q}leases", f"{Q}processing:w-1") == 0


@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("by_exchange", [True, False], ids=["with a claim", "alone"])
def test_settlement_sent_twice_is_recorded_once(
    outcome: str, by_exchange: bool, queue: JobQueue, server: Server, worker: Worker
) -> None:
    queue.submit()
    [job] = worker.claim()
    if by_exchange:
        assert worker.exchange(ended(job, outcome), want=0)[0] == [True]
        before = snapshot(server)
        assert worker.again()[0] == [True]
    else:
        assert worker.settle(ended(job, outcome)) == [True]
        before = snapshot(server)
        assert worker.settle(ended(job, outcome)) == [True]
    assert snapshot(server) == before


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_settlement_by_the_wrong_holder_is_refused(
    outcome: str, queue: JobQueue, server: Server, worker: Worker, other: Worker
) -> None:
    queue.submit()
    [job] = worker.claim()
    other.claim()
    before = snapshot(server)
    for token in ("other-1:1", "w-1:2", "w-2:1"):
        assert other.settle(ended(job, outcome, token=token)) == [False]
    changed = {key.removeprefix(Q).split(":")[0] for key, value in snapshot(server).items() if before.get(key) != value}
    assert changed <= {"totals", "stats"}
    assert total(queue, "refused") == (0 if outcome == "released" else 3)
    assert worker.settle(ended(job)) == [True]


def test_same_attempt_twice_in_one_call_is_recorded_once(queue: JobQueue, worker: Worker) -> None:
    queue.submit()
    [job] = worker.claim()
    assert worker.exchange(ended(job), ended(job, "failed"))[0] == [True, True]
    assert queue.get(job.id).status == "done"
    assert total(queue, "done") == 1


def test_late_finish_after_reap_is_refused(queue: JobQueue, server: Server, worker: Worker, other: Worker) -> None:
    queue.submit()
    [late] = worker.claim()
    passes(server, "leases", late)
    assert tick(queue) == ["queued"]
    [job] = other.claim()
    assert worker.settle(ended(late)) == [False]
    assert queue.get(job.id).status == "processing"
    assert other.settle(ended(job)) == [True]
    assert worker.settle(ended(late, "failed")) == [False]
    assert queue.get(job.id).status == "done"
    assert (total(queue, "done"), total(queue, "refused")) == (1, 2)


def test_late_finish_before_anybody_reaped_is_accepted(queue: JobQueue, server: Server, worker: Worker) -> None:
    queue.submit()
    [job] = worker.claim()
    passes(server, "leases", job)
    _, expired, _ = queue.recovery.expired("default", 10)
    assert worker.settle(ended(job)) == [True]
    assert recover(queue, expired, 10, {})[0] == ["changed"]
    assert queue.get(job.id).status == "done"


def test_slot_that_loses_a_job_and_claims_it_again_keeps_it_when_the_call_is_repeated(
    queue: JobQueue, server: Server, worker: Worker
) -> None:
    queue.submit()
    [late] = worker.claim()
    passes(server, "leases", late)
    tick(queue)
    accepted, [job] = worker.exchange(ended(late), lost=True)
    assert (accepted, job.id, job.token) == ([False], late.id, "w-1:2")
    assert worker.again() == ([False], [job])
    assert server.client.lrange(f"{Q}processing:w-1", 0, -1) == [job.id]
    assert worker.settle(ended(job)) == [True]


def test_released_job_keeps_its_place_and_its_attempts(queue: JobQueue, worker: Worker, other: Worker) -> None:
    first, second = queue.submit(), queue.submit()
    [job] = worker.claim()
    assert worker.settle(ended(job, "released")) == [True]
    assert (queue.get(first.id).position, queue.get(first.id).attempts) == (1, 0)
    assert [(job.id, job.attempt) for job in other.claim(2)] == [(first.id, 1), (second.id, 1)]


def test_release_and_new_claim_in_one_call_can_be_repeated(queue: JobQueue, worker: Worker) -> None:
    queue.submit()
    [job] = worker.claim()
    _, again = worker.exchange(ended(job, "released"))
    assert worker.again()[1] == again
    assert [(job.id, job.token, job.attempt) for job in again] == [(job.id, "w-1:2", 1)]


def test_result_for_a_job_that_was_asked_to_cancel_stands(queue: JobQueue, worker: Worker) -> None:
    queue.submit()
    [job] = worker.claim()
    assert queue.cancel(job.id) == "asked"
    assert worker.settle(ended(job)) == [True]
    assert queue.get(job.id).status == "done"


def test_slot_settles_for_the_one_that_it_replaces(queue: JobQueue, server: Server, worker: Worker) -> None:
    queue.submit()
    [job] = worker.claim()
    substitute = Worker(queue, "w", 2)
    assert substitute.exchange(ended(job, "failed"))[0] == [True]
    assert server.client.exists(f"{Q}processing:w-1") == 0


# ------------------------------------------------------------------------------------------------ attempts and backoff


def test_backoff_doubles_with_every_attempt(queue: JobQueue, server: Server, worker: Worker) -> None:
    queue.submit(max_attempts=6, backoff_s=0.5)
    for attempt, delay_ms in enumerate([500, 1000, 2000, 4000, 8000], 1):
        [job] = worker.claim()
        assert job.attempt == attempt
        worker.settle(ended(job, "failed"))
        failed_at = int(server.client.hget(f"{Q}job:{job.id}", f"error:{attempt}").split()[0])
        assert score(server, "scheduled", job.id) == failed_at + delay_ms
        passes(server, "scheduled", job)
        tick(queue)
    worker.settle(ended(worker.claim()[0], "failed"))
    assert queue.get(job.id).status == "failed"


def test_handler_may_choose_its_delay(queue: JobQueue, server: Server, worker: Worker) -> None:
    queue.submit(max_attempts=3)
    [job] = worker.claim()
    worker.settle(ended(job, "failed", 12_345))
    failed_at = int(server.client.hget(f"{Q}job:{job.id}", "error:1").split()[0])
    assert score(server, "scheduled", job.id) == failed_at + 12_345


def test_failure_for_good_spends_no_more_attempts(queue: JobQueue, worker: Worker) -> None:
    queue.submit(max_attempts=5)
    [job] = worker.claim()
    worker.settle(ended(job, "failed", NEVER))
    stored = queue.get(job.id)
    assert (stored.status, stored.attempts) == ("failed", 1)
    assert stored.as_dict()["error"] == "it went wrong"


@pytest.mark.parametrize("end", ["fail", "crash", "reap"])
def test_no_job_runs_more_often_than_it_may(end: str, queue: JobQueue, server: Server, worker: Worker) -> None:
    submitted = queue.submit(max_attempts=3)
    runs = 0
    while jobs := worker.claim():
        runs += 1
        if end == "fail":
            worker.settle(ended(jobs[0], "failed", IN_PLACE))
        if end == "reap":
            passes(server, "leases", *jobs)
            tick(queue)
    stored = queue.get(submitted.id)
    assert (runs, stored.attempts, stored.status, len(stored.errors)) == (3, 3, "failed", 3)


def test_policy_of_the_job_wins_over_its_type_over_the_default(queue: JobQueue, server: Server, worker: Worker) -> None:
    worker.beat(typed=Policy(5, 7000, 300))
    queue = JobQueue(server.url, defaults=Policy(3, 4000, 100))
    own = queue.submit("typed", max_attempts=9, timeout_s=1.5)
    typed, plain = queue.submit("typed"), queue.submit("plain")
    for job in (own, typed, plain):
        assert queue.get(job.id) == job
    assert [(job.max_attempts, job.timeout_ms) for job in (own, typed, plain)] == [(9, 1500), (5, 7000), (3, 4000)]
    assert [job.timeout_ms for job in Worker(queue).claim(3)] == [1500, None, None]


@pytest.mark.parametrize(
    ("fields", "attempts", "delay_ms"), [({}, 2, 40), ({"backoff_s": 9, "max_attempts": 3}, 3, 9000)]
)
def test_failed_attempt_follows_the_policy_of_its_job_then_of_its_type(
    fields: dict[str, Any], attempts: int, delay_ms: int, queue: JobQueue, server: Server, worker: Worker
) -> None:
    worker.beat(typed=Policy(2, 7000, 40))
    queue.submit("typed", **fields)
    [job] = worker.claim()
    worker.settle(ended(job, "failed"))
    failed_at = int(server.client.hget(f"{Q}job:{job.id}", "error:1").split()[0])
    assert score(server, "scheduled", job.id) == failed_at + delay_ms
    for _ in range(attempts - 1):
        passes(server, "scheduled", job)
        tick(queue)
        worker.settle(ended(worker.claim()[0], "failed"))
    assert queue.get(job.id).status == "failed"


def test_failed_attempt_keeps_when_it_started_and_ended(queue: JobQueue, server: Server, worker: Worker) -> None:
    job = queue.submit(max_attempts=2)
    for _ in range(2):
        [claimed] = worker.claim()
        server.client.hincrby(f"{Q}job:{job.id}", "started", -60_000)
        worker.settle(ended(claimed, "failed", IN_PLACE))
    for error in queue.get(job.id).errors:
        started, at = (datetime.fromisoformat(error[name].rstrip("Z")) for name in ("started_at", "at"))
        assert 60 <= (at - started).total_seconds() < 90


def test_error_that_was_stored_without_its_start_can_be_read(queue: JobQueue, server: Server, worker: Worker) -> None:
    job = queue.submit(max_attempts=1)
    worker.settle(ended(worker.claim()[0], "failed"))
    record = server.client.hget(f"{Q}job:{job.id}", "error:1")
    head, _, text = record.partition("\n")
    server.client.hset(f"{Q}job:{job.id}", "error:1", f"{head.rpartition(' ')[0]}\n{text}")
    [error] = queue.get(job.id).errors
    assert (error["kind"], error["message"], error["started_at"]) == ("Boom", "it went wrong", None)


@pytest.mark.parametrize("traceback", ["", "Traceback:\n  a\0b\0"])
@pytest.mark.parametrize("text", ["", "\0", "a\0b", "\0\0a\0", "a\0\0\0", "half \0\n of it"])
def test_text_of_an_error_survives_whole(queue: JobQueue, worker: Worker, text: str, traceback: str) -> None:
    job_id = queue.submit("echo", max_attempts=1).id
    (claimed,) = worker.claim()
    worker.settle(Settlement(job_id, claimed.token, "failed", NEVER, "Boom", text, traceback=traceback))
    error = queue.get(job_id).errors[-1]
    assert (error["message"], error["traceback"]) == (text, traceback or None)
    (kind,) = queue.kinds()
    assert kind.message == text


def test_errors_are_kept_over_an_operators_retry(queue: JobQueue, worker: Worker) -> None:
    queue.submit(max_attempts=1)
    for _ in range(3):
        [job] = worker.claim()
        worker.settle(ended(job, "failed"))
        queue.retry(job.id)
    stored = queue.get(job.id)
    assert (stored.attempts, stored.status) == (0, "queued")
    assert [(error["attempt"], error["kind"], error["worker"]) for error in stored.errors] == [(1, "Boom", "w")] * 3


def test_only_the_last_hundred_errors_are_kept(queue: JobQueue, worker: Worker) -> None:
    submitted = queue.submit(max_attempts=100)
    for number in range(103):
        if number == 100:
            queue.retry(submitted.id)
        [job] = worker.claim()
        worker.settle(Settlement(job.id, job.token, "failed", IN_PLACE, "Boom", f"error {number}"))
    assert [error["message"] for error in queue.get(submitted.id).errors] == [f"error {n}" for n in range(3, 103)]


# ------------------------------------------------------------------------------------------- what a slot leaves behind


def test_jobs_of_an_answer_never_seen_go_back_unharmed(queue: JobQueue, worker: Worker) -> None:
    submitted = [queue.submit() for _ in range(3)]
    worker.exchange(want=3, lost=True)
    assert [(job.id, job.attempt, job.token) for job in worker.claim(2)] == [
        (job.id, 1, "w-1:2") for job in submitted[:2]
    ]
    assert (queue.get(submitted[2].id).attempts, queue.get(submitted[2].id).position) == (0, 1)
    assert total(queue, "released") == 3


def test_job_that_a_slot_saw_and_dropped_counts_as_a_crash(queue: JobQueue, worker: Worker, other: Worker) -> None:
    submitted = queue.submit(max_attempts=2)
    worker.claim()
    assert worker.exchange(want=0) == ([], [])
    [job] = other.claim()
    assert (job.id, job.attempt) == (submitted.id, 2)
    other.exchange(want=0)
    stored = queue.get(job.id)
    assert (stored.status, [error["kind"] for error in stored.errors]) == ("failed", ["dropped", "dropped"])


def test_slot_hands_back_only_what_is_still_its_own(
    queue: JobQueue, server: Server, worker: Worker, other: Worker
) -> None:
    queue.submit()
    passes(server, "leases", *worker.claim())
    tick(queue)
    [job] = other.claim()
    server.client.rpush(f"{Q}processing:w-1", job.id, "no such job")
    worker.exchange(want=1)
    assert queue.get(job.id).status == "processing"
    assert other.settle(ended(job)) == [True]


def test_handing_back_twice_changes_nothing_more(queue: JobQueue, server: Server, worker: Worker) -> None:
    queue.submit_many([NewJob(max_attempts=2)] * 2)
    worker.claim(2)
    first = worker.exchange(want=0)
    before = snapshot(server)
    assert worker.again() == first
    assert snapshot(server) == before
    assert total(queue, "retried") == 2


@pytest.mark.parametrize("lost", [True, False])
def test_result_of_a_job_that_was_handed_back_is_refused(lost: bool, queue: JobQueue, worker: Worker) -> None:
    queue.submit()
    _, [job] = worker.exchange(lost=lost)
    worker.exchange(want=0)
    assert worker.settle(ended(job)) == [False]
    assert queue.get(job.id).status == "queued"


@pytest.mark.parametrize("lost", [True, False])
def test_job_to_be_cancelled_is_cancelled_when_its_slot_drops_it(lost: bool, queue: JobQueue, worker: Worker) -> None:
    queue.submit()
    _, [job] = worker.exchange(lost=lost)
    assert queue.cancel(job.id) == "asked"
    worker.exchange(want=0)
    assert queue.get(job.id).status == "cancelled"


def test_a_cancelled_attempt_leaves_a_record_and_counts_as_no_error(queue: JobQueue, worker: Worker) -> None:
    job = queue.submit(max_attempts=3)
    worker.claim()
    worker.end("cancelled")
    queue.retry(job.id)
    worker.claim()
    worker.end("failed")
    assert [(error["kind"], error["attempt"]) for error in queue.get(job.id).errors] == [("cancelled", 1), ("Boom", 1)]
    totals = queue.books("default").totals
    assert (totals["cancelled"], totals["errors:error"]) == (1, 1)
