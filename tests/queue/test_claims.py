"""From a submit to a claim, on a real Redis: that it happens, that nobody else gets the job, that a call sent twice is harmless.

Time passes by moving scores: nothing here waits."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread
from typing import Any

import pytest

from _jobqueue.records import IN_PLACE, Claimed
from _jobqueue.store.ids import new_id
from _jobqueue.store.scripts import Script
from jobqueue import Filter, JobQueue, NewJob, Policy, Unavailable
from tests.faults.proxy import APPLIED, Proxy, Rule, Strike, strike_at
from tests.harness import Server, eventually
from tests.played import (
    LEASE_MS,
    Q,
    Worker,
    ended,
    ids,
    now_ms,
    passes,
    score,
    snapshot,
    tick,
    total,
)

pytestmark = pytest.mark.usefixtures("in_the_end_all_is_well")


# -------------------------------------------------------------------------------------------------------------- submit


def test_submitted_job_is_queued_and_the_bell_rings(queue: JobQueue, server: Server) -> None:
    before = now_ms(server)
    job = queue.submit("task", {"a": 1}, priority=7)
    stored = queue.get(job.id)
    assert (stored.status, stored.priority, stored.attempts, stored.position) == ("queued", 7, 0, 1)
    assert before <= stored.created_ms <= now_ms(server)
    assert stored == job
    assert server.client.lrange(f"{Q}bell", 0, -1) == ["!"]
    assert total(queue, "submitted") == 1


def test_delayed_job_is_scheduled_by_the_clock_of_redis(queue: JobQueue, server: Server) -> None:
    job = queue.submit("task", delay_s=90)
    assert (job.status, job.position) == ("scheduled", None)
    assert score(server, "scheduled", job.id) == job.created_ms + 90_000 == job.run_at_ms
    assert queue.get(job.id) == job
    assert server.client.llen(f"{Q}bell") == 0


def test_submit_whose_answer_is_lost_is_sent_again_and_stores_one_job(
    queue: JobQueue, server: Server, proxy: Proxy, through: Callable[[Rule], JobQueue]
) -> None:
    server.client.script_load(Script("submit").text)
    submitted = through(strike_at("submit", 1, Strike(APPLIED))).submit_one(NewJob("task", "x"))
    assert [message.nth for message in proxy.seen if message.label == "submit"] == [1, 2]
    assert submitted.job == queue.get(submitted.job.id)
    assert not submitted.replayed
    assert total(queue, "submitted") == server.client.zcard(f"{Q}queue") == 1


# --------------------------------------------------------------------------------------------------------------- claim


def test_claim_takes_the_job_under_a_token_and_a_lease(queue: JobQueue, server: Server, worker: Worker) -> None:
    submitted = queue.submit("task", ["x"], timeout_s=60)
    [job] = worker.claim()
    assert job == Claimed(submitted.id, "w-1:1", "task", b'["x"]', 1, 60_000, job.waited_ms)
    stored = queue.get(job.id)
    assert (stored.status, stored.attempts, stored.worker, stored.position) == ("processing", 1, "w", None)
    assert score(server, "leases", job.id) == stored.started_ms + LEASE_MS
    assert score(server, "queue", job.id) is None
    assert server.client.lrange(f"{Q}processing:w-1", 0, -1) == [job.id]


def test_claimed_job_is_for_nobody_else(queue: JobQueue, worker: Worker, other: Worker) -> None:
    queue.submit()
    assert len(worker.claim()) == 1
    assert other.claim() == []


def test_claim_sent_twice_gives_the_same_jobs_and_counts_one_attempt(
    queue: JobQueue, server: Server, worker: Worker
) -> None:
    queue.submit_many([NewJob("task", "x" * n) for n in (0, 100, 300)])
    claimed = worker.exchange(want=3)
    queue.submit(priority=9)
    before = snapshot(server)
    assert worker.again() == claimed == worker.again()
    assert snapshot(server) == before
    assert [(job.attempt, job.payload.decode()) for job in claimed[1]] == [(1, f'"{"x" * n}"') for n in (0, 100, 300)]


def test_claim_sent_again_after_the_job_was_taken_back_gives_nothing(
    queue: JobQueue, server: Server, worker: Worker
) -> None:
    queue.submit()
    passes(server, "leases", *worker.claim())
    assert tick(queue) == ["queued"]
    assert worker.again()[1] == []


def test_copy_of_an_older_claim_is_refused(queue: JobQueue, server: Server, worker: Worker) -> None:
    queue.submit_many([NewJob()] * 3)
    [job] = worker.claim()
    older = worker.call
    worker.exchange(ended(job))
    before = snapshot(server)
    with pytest.raises(Unavailable, match="newer claim"):
        older.arrives(queue, worker.link)
    assert snapshot(server) == before


def test_copy_of_an_older_claim_is_refused_when_the_slot_holds_nothing_any_more(
    queue: JobQueue, server: Server, worker: Worker
) -> None:
    queue.submit()
    [job] = worker.claim()
    older = worker.call
    worker.exchange(ended(job), want=0)
    queue.submit()
    assert server.client.exists(f"{Q}processing:w-1") == 0
    with pytest.raises(Unavailable, match="newer claim"):
        older.arrives(queue, worker.link)
    assert server.client.zcard(f"{Q}queue") == 1


def test_priority_is_strict_and_first_come_first_served_inside(queue: JobQueue, worker: Worker) -> None:
    priorities = [5, 0, 9, 5, 9, 1, 0, 5]
    jobs = [queue.submit(payload=n, priority=priority) for n, priority in enumerate(priorities)]
    expected = ids(sorted(jobs, key=lambda job: (-job.priority, job.payload)))
    taken = []
    while batch := worker.exchange(*[ended(job) for job in taken[-3:]], want=3)[1]:
        taken += batch
    assert ids(taken) == expected


def test_job_of_higher_priority_overtakes_a_backlog(queue: JobQueue, worker: Worker, other: Worker) -> None:
    queue.submit_many([NewJob(payload=n) for n in range(600)])
    assert [job.payload for job in worker.claim(2)] == [b"0", b"1"]
    urgent = queue.submit(priority="high")
    assert urgent.position == 1
    assert ids(other.claim(2))[0] == urgent.id


def test_lease_of_a_short_job_ends_a_second_after_its_timeout(queue: JobQueue, server: Server, worker: Worker) -> None:
    worker.beat(quick=Policy(2, 500, 0))
    by_itself, by_its_type = queue.submit("task", timeout_s=2), queue.submit("quick")
    worker.claim(2)
    for job, lease_ms in ((by_itself, 3000), (by_its_type, 1500)):
        assert score(server, "leases", job.id) == queue.get(job.id).started_ms + lease_ms


def test_job_that_failed_before_is_claimed_alone(queue: JobQueue, worker: Worker, other: Worker) -> None:
    failed_before = queue.submit()
    worker.exchange(ended(worker.claim()[0], "failed", IN_PLACE), want=0)
    behind = queue.submit_many([NewJob()] * 2)
    in_front = queue.submit(priority=9)
    assert ids(worker.claim(10)) == [in_front.id]
    assert ids(other.claim(10)) == [failed_before.id]
    assert ids(Worker(queue, "third").claim(10)) == [submitted.job.id for submitted in behind]


def test_paused_queue_gives_nothing_and_rings_for_nobody(queue: JobQueue, server: Server, worker: Worker) -> None:
    server.client.hset(f"{Q}meta", "paused", 1)
    queue.submit()
    assert worker.claim() == []
    assert server.client.llen(f"{Q}bell") == 0
    server.client.hset(f"{Q}meta", "paused", 0)
    assert len(worker.claim()) == 1


def test_paused_queue_still_takes_results(queue: JobQueue, server: Server, worker: Worker) -> None:
    queue.submit_many([NewJob()] * 2)
    [job] = worker.claim()
    server.client.hset(f"{Q}meta", "paused", 1)
    assert worker.exchange(ended(job)) == ([True], [])
    assert queue.get(job.id).status == "done"


def test_ids_in_the_queue_that_are_not_queued_are_dropped(queue: JobQueue, server: Server, worker: Worker) -> None:
    done = queue.submit()
    worker.exchange(ended(worker.claim()[0]), want=0)
    stale = {done.id: 1, "no such job": 2} | {new_id(0): n for n in range(3, 254)}
    server.client.zadd(f"{Q}queue", stale)
    job = queue.submit()
    assert worker.claim() == [], "it stops at its bound"
    assert worker.talk.more
    assert ids(worker.claim()) == [job.id]
    assert queue.get(done.id).status == "done"
    assert server.client.zcard(f"{Q}queue") == 0


# ---------------------------------------------------------------------------------------------------------------- ring


def test_claim_that_leaves_work_behind_rings_again(queue: JobQueue, server: Server, worker: Worker) -> None:
    queue.submit_many([NewJob()] * 2)
    server.client.blmove(f"{Q}bell", f"{Q}processing:w-1", 1)
    assert server.client.llen(f"{Q}bell") == 0
    worker.claim()
    assert server.client.llen(f"{Q}bell") == 1
    assert server.client.lrange(f"{Q}processing:w-1", 0, -1) == ids(queue.page(Filter("processing")).jobs)


def test_bell_holds_one_token_at_most(queue: JobQueue, server: Server, worker: Worker) -> None:
    for _ in range(5):
        queue.submit()
    worker.claim()
    tick(queue)
    assert server.client.llen(f"{Q}bell") == 1


def test_empty_queue_rings_for_nobody(queue: JobQueue, server: Server, worker: Worker) -> None:
    worker.claim()
    worker.beat()
    tick(queue)
    assert server.client.llen(f"{Q}bell") == 0


def test_job_released_by_a_stopping_slot_wakes_another(queue: JobQueue, server: Server, worker: Worker) -> None:
    queue.submit()
    [job] = worker.claim()
    server.client.delete(f"{Q}bell")
    worker.exchange(ended(job, "released"), want=0)
    assert server.client.llen(f"{Q}bell") == 1


def test_waiting_slot_is_woken_by_name(queue: JobQueue, server: Server, worker: Worker) -> None:
    waiting = Thread(target=worker.wait)
    waiting.start()
    eventually(lambda: server.client.info("clients")["blocked_clients"], equals=1)
    queue.unblock([worker.link, Worker(queue, "asleep").link])
    waiting.join(1)
    assert not waiting.is_alive()


# ----------------------------------------------------------------------------------------- a claim that waits in Redis


def waits(server: Server, worker: Worker, **arguments: Any) -> tuple[Thread, list[Claimed]]:
    """A slot that waits in another thread, and what it gets."""
    worker.exchange(want=0)  # no slot waits before it has claimed: Redis has the script
    got: list[Claimed] = []
    waiting = Thread(target=lambda: got.extend(worker.wait(**arguments)))
    waiting.start()
    eventually(lambda: server.client.info("clients")["blocked_clients"], equals=1)
    return waiting, got


def test_slot_that_waits_is_given_the_job_as_it_comes(queue: JobQueue, server: Server, worker: Worker) -> None:
    worker.beat()
    waiting, got = waits(server, worker)
    server.client.config_resetstat()
    job = queue.submit()
    assert queue.get(job.id).status == "processing"  # before the slot has said another word
    waiting.join()
    assert ids(got) == [job.id]
    assert worker.settle(ended(got[0])) == [True]


def test_worker_that_has_not_beaten_lately_is_given_nothing_while_it_waits(
    queue: JobQueue, server: Server, worker: Worker
) -> None:
    """It may have died: the job would wait for the end of its lease."""
    worker.beat()
    waiting, got = waits(server, worker, alive_ms=1000)
    server.client.zadd(f"{Q}workers", {"w": now_ms(server) - 1001})
    job = queue.submit()
    waiting.join()
    assert got == []
    assert queue.get(job.id).status == "queued"
    assert server.client.llen(f"{Q}bell") == 1, "the bell rings for the others"
    assert ids(worker.claim()) == [job.id], "with a word from it, it is alive"


def test_worker_that_has_never_beaten_is_given_nothing_while_it_waits(
    queue: JobQueue, server: Server, worker: Worker
) -> None:
    assert worker.claim() == [], "as each worker begins: Redis knows its slot, and the script that waits for the bell"
    queue.submit()
    assert worker.wait() == []


def test_job_whose_waiting_claim_was_never_answered_goes_back_unharmed(
    queue: JobQueue, server: Server, worker: Worker
) -> None:
    worker.beat()
    assert worker.claim() == []
    job = queue.submit()
    assert ids(worker.wait(lost=True)) == [job.id]
    [again] = worker.claim()
    assert (again.id, again.attempt) == (job.id, 1)


def test_waiting_claim_of_a_script_that_redis_forgot_brings_nothing(
    queue: JobQueue, server: Server, worker: Worker
) -> None:
    worker.beat()
    job = queue.submit()
    server.client.script_flush()
    assert worker.wait() == []
    assert ids(worker.claim()) == [job.id]


def test_waiting_claim_of_a_paused_queue_brings_nothing(queue: JobQueue, server: Server, worker: Worker) -> None:
    worker.beat()
    waiting, got = waits(server, worker)
    queue.submit()
    waiting.join()
    assert len(got) == 1
    queue.pause("default")
    queue.submit()
    assert worker.wait() == []
