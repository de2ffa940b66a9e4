"""Every transition on a real Redis: that it happens, that the wrong holder cannot, that sending it twice is harmless.

Time passes by moving scores: nothing here waits. After each test every invariant must hold and the books must balance."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from threading import Thread
from typing import Any

import pytest

from _jobqueue.pieces import result_fields
from _jobqueue.records import BACKOFF, DAY_MS, IN_PLACE, NEVER, Claimed, Held, Settlement
from _jobqueue.store.ids import new_id
from _jobqueue.store.scripts import Script
from jobqueue import Conflict, Filter, JobQueue, NewJob, NotFound, Policy, Unavailable
from tests.faults.proxy import APPLIED, Proxy, Rule, Strike, strike_at
from tests.harness import Server, eventually
from tests.played import LEASE_MS, RETENTION_MS, Q, Worker, now_ms, passes, recover, run_script, tick

OUTCOMES = {"done": "done", "failed": "scheduled", "cancelled": "cancelled", "released": "queued"}


def ended(job: Claimed, outcome: str = "done", delay_ms: int = BACKOFF, token: str = "") -> Settlement:
    fields = result_fields("a result", 1000) if outcome == "done" else []
    return Settlement(job.id, token or job.token, outcome, delay_ms, "Boom", "it went wrong", fields)


def ids(jobs: list[Any]) -> list[str]:
    return [job.id for job in jobs]


def snapshot(server: Server) -> dict[str, Any]:
    """All that Redis holds."""
    read = {
        "hash": server.client.hgetall,
        "string": server.client.get,
        "list": lambda key: server.client.lrange(key, 0, -1),
        "zset": lambda key: server.client.zrange(key, 0, -1, withscores=True),
        "set": server.client.smembers,
    }
    return {key: read[server.client.type(key)](key) for key in sorted(server.client.keys())}


def score(server: Server, index: str, job_id: str) -> float | None:
    return server.client.zscore(f"{Q}{index}", job_id)


def total(queue: JobQueue, name: str) -> int:
    return queue.books("default").totals.get(name, 0)


@pytest.fixture(autouse=True)
def _in_the_end_all_is_well(queue: JobQueue) -> Iterator[None]:
    yield
    assert queue.check("default") == []


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    """A network between a queue and Redis that can lose a message."""
    proxy = Proxy(server.port)
    yield proxy
    proxy.close()


@pytest.fixture
def through(proxy: Proxy) -> Callable[[Rule], JobQueue]:
    """A queue behind the proxy, with its rule."""

    def behind(rule: Rule) -> JobQueue:
        proxy.rule = rule
        return JobQueue(proxy.url)

    return behind


@pytest.fixture
def worker(queue: JobQueue) -> Worker:
    return Worker(queue)


@pytest.fixture
def other(queue: JobQueue) -> Worker:
    return Worker(queue, "other")


# ---------------------------------------------------------------------------------------------------------- submit


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


# ----------------------------------------------------------------------------------------------------------- claim


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


# ---------------------------------------------------------------------------------------------------------- settle


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


# --------------------------------------------------------------------------------------------- attempts and backoff


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


def test_backoff_is_at_most_a_year(queue: JobQueue, server: Server, worker: Worker) -> None:
    queue.submit(max_attempts=100, backoff_s=86_400)
    for _ in range(70):
        worker.settle(ended(worker.claim()[0], "failed", IN_PLACE))
    [job] = worker.claim()
    worker.settle(ended(job, "failed"))
    assert score(server, "scheduled", job.id) - now_ms(server) == pytest.approx(365 * DAY_MS, abs=60_000)


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


# --------------------------------------------------------------------------------------- what a slot leaves behind


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


# ------------------------------------------------------------------------------------------------------------ beat


def test_beat_renews_the_lease_and_stores_the_progress(queue: JobQueue, server: Server, worker: Worker) -> None:
    queue.submit()
    [job] = worker.claim()
    passes(server, "leases", job)
    before = now_ms(server)
    assert worker.beat(Held(job.id, job.token, 60_000, ["progress", '{"fraction":0.5}', "log", "one\ntwo"])) == ["ok"]
    assert score(server, "leases", job.id) >= before + LEASE_MS
    assert tick(queue) == []
    stored = queue.get(job.id)
    assert (stored.progress, stored.log) == ({"fraction": 0.5}, ["one", "two"])
    assert queue.look("default").workers["w"]["host"] == "here"


def test_beat_renews_no_lease_beyond_the_timeout(queue: JobQueue, server: Server, worker: Worker) -> None:
    queue.submit()
    [job] = worker.claim()
    worker.beat(Held(job.id, job.token, 3000))
    renewed = score(server, "leases", job.id)
    assert renewed - now_ms(server) == pytest.approx(4000, abs=2000)
    assert worker.beat(Held(job.id, job.token, -5000)) == ["ok"]
    assert score(server, "leases", job.id) == renewed


def test_beat_of_the_wrong_holder_is_told_that_the_job_is_lost(queue: JobQueue, server: Server, worker: Worker) -> None:
    queue.submit()
    [job] = worker.claim()
    before = snapshot(server)
    wrong = [Held(job.id, token, 60_000, ["progress", "0"]) for token in ("w-1:2", "other-1:1", "w-2:1")]
    assert Worker(queue, "other").beat(*wrong) == ["lost"] * 3
    for key in (f"{Q}leases", f"{Q}job:{job.id}"):
        assert snapshot(server)[key] == before[key]


def test_beat_after_reap_or_finish_is_told_that_the_job_is_lost(
    queue: JobQueue, server: Server, worker: Worker
) -> None:
    queue.submit_many([NewJob()] * 2)
    taken_back, finished = worker.claim(2)
    passes(server, "leases", taken_back)
    tick(queue)
    worker.settle(ended(finished))
    assert worker.beat(*[Held(job.id, job.token, 60_000) for job in (taken_back, finished)]) == ["lost", "lost"]
    assert server.client.exists(f"{Q}leases") == 0


def test_beat_sent_twice_is_one_beat(queue: JobQueue, worker: Worker) -> None:
    queue.submit()
    [job] = worker.claim()
    held = Held(job.id, job.token, 60_000)
    assert worker.beat(held, held) == worker.beat(held, held) == ["ok", "ok"]
    assert queue.get(job.id).attempts == 1
    assert list(queue.look("default").workers) == ["w"]


def test_beat_hears_whether_a_reaper_lives(queue: JobQueue, server: Server, worker: Worker) -> None:
    def lives() -> bool:
        return worker.presence.beat({}, {})[0]

    assert not lives()
    tick(queue)
    assert lives()
    server.client.hincrby(f"{Q}meta", "reaper", -15_001)
    assert not lives()


# ------------------------------------------------------------------------------------------------------------ reap


def test_expired_lease_is_taken_back_to_its_old_place(queue: JobQueue, server: Server, worker: Worker) -> None:
    first, second = queue.submit(), queue.submit()
    passes(server, "leases", *worker.claim())
    server.client.delete(f"{Q}bell")
    assert tick(queue) == ["queued"]
    stored = queue.get(first.id)
    assert (stored.status, stored.position, stored.attempts, stored.worker) == ("queued", 1, 1, None)
    assert [(error["kind"], error["message"]) for error in stored.errors] == [("lease_expired", "its lease ran out")]
    assert queue.get(second.id).position == 2
    assert server.client.llen(f"{Q}bell") == 1


def test_lease_that_has_not_run_out_is_left_alone(queue: JobQueue, server: Server, worker: Worker) -> None:
    queue.submit()
    worker.claim()
    before = snapshot(server)
    assert tick(queue) == []
    after = snapshot(server)
    assert after.pop(f"{Q}meta").keys() - before.pop(f"{Q}meta").keys() == {"reaper", "reaper_lease", "untold"}
    assert before.pop(f"{Q}strange") == {"echo"}, "no worker has published it; now none of its jobs waits"
    assert after == before


@pytest.mark.parametrize("since", ["renewed", "settled", "claimed anew", "reaped"])
def test_reaper_that_looked_too_early_changes_nothing(
    since: str, queue: JobQueue, server: Server, worker: Worker, other: Worker
) -> None:
    queue.submit(max_attempts=5)
    [job] = worker.claim()
    passes(server, "leases", job)
    _, looked, _ = queue.recovery.expired("default", 10)
    if since == "renewed":
        worker.beat(Held(job.id, job.token, 60_000))
    elif since == "settled":
        worker.settle(ended(job))
    else:
        tick(queue)
    if since == "claimed anew":
        [again] = other.claim()
        server.client.zadd(f"{Q}leases", {job.id: looked[0].lease_end.decode()})
    before = snapshot(server)
    for _ in range(2):
        assert recover(queue, looked, 10, {})[0] == ["changed"]
    after = snapshot(server)
    for what in (before, after):  # its notes: that it lives, and how long jobs wait
        del what[f"{Q}meta"]
        [what[key].pop("oldest_ms", None) for key in what if key.startswith(f"{Q}stats:")]
    assert after == before
    if since == "claimed anew":
        assert other.settle(ended(again)) == [True]


@pytest.mark.parametrize("token", [False, True], ids=["unknown id", "finished job"])
def test_stale_lease_is_dropped(token: bool, queue: JobQueue, server: Server, worker: Worker) -> None:
    queue.submit()
    [job] = worker.claim()
    worker.settle(ended(job))
    server.client.zadd(f"{Q}leases", {job.id if token else new_id(0): 1})
    assert tick(queue) == ["stale"]
    assert queue.get(job.id).status == "done"
    assert total(queue, "reaped") == 0


def test_thousand_leases_are_taken_back_in_one_transaction(queue: JobQueue, server: Server) -> None:
    queue.submit_many([NewJob()] * 1000)
    jobs = [job for number in range(10) for job in Worker(queue, "w", number).claim(100)]
    passes(server, "leases", *jobs)
    _, expired, _ = queue.recovery.expired("default", 1000)
    assert recover(queue, expired, 500, RETENTION_MS)[0] == ["queued"] * 1000
    assert total(queue, "reaped") == 1000


def test_job_that_was_asked_to_cancel_is_cancelled_when_its_worker_dies(
    queue: JobQueue, server: Server, worker: Worker
) -> None:
    queue.submit()
    [job] = worker.claim()
    queue.cancel(job.id)
    passes(server, "leases", job)
    assert tick(queue) == ["cancelled"]
    assert queue.get(job.id).status == "cancelled"
    assert worker.settle(ended(job)) == [False]


# ----------------------------------------------------------------------------------------------------------- lower


def test_leases_of_a_silent_worker_end_now(queue: JobQueue, server: Server, worker: Worker, other: Worker) -> None:
    queue.submit_many([NewJob()] * 3)
    worker.beat()
    jobs = worker.claim(2)
    [healthy] = other.claim()
    beat = queue.recovery.expired("default", 1)[2]["w"]
    assert queue.recovery.lower("default", "w", beat) == 2
    assert [entry.id for entry in queue.recovery.expired("default", 10)[1]] == ids(sorted(jobs, key=lambda job: job.id))
    assert tick(queue) == ["queued", "queued"]
    assert queue.get(healthy.id).status == "processing"


def test_worker_that_has_beaten_since_keeps_its_leases(queue: JobQueue, server: Server, worker: Worker) -> None:
    queue.submit()
    worker.beat()
    [job] = worker.claim()
    lease_end = score(server, "leases", job.id)
    server.client.zincrby(f"{Q}workers", -1, "w")
    beat = queue.recovery.expired("default", 1)[2]["w"]
    worker.beat()
    assert queue.recovery.lower("default", "w", beat) == 0
    assert score(server, "leases", job.id) == lease_end


def test_lowering_twice_changes_nothing_more(queue: JobQueue, server: Server, worker: Worker) -> None:
    queue.submit()
    worker.beat()
    worker.claim()
    beat = queue.recovery.expired("default", 1)[2]["w"]
    assert queue.recovery.lower("default", "w", beat) == 1
    before = snapshot(server)
    assert queue.recovery.lower("default", "w", beat) == 0
    assert snapshot(server) == before


def test_job_that_moved_on_is_not_lowered_with_its_old_slot(
    queue: JobQueue, server: Server, worker: Worker, other: Worker
) -> None:
    queue.submit()
    worker.beat()
    passes(server, "leases", *worker.claim())
    tick(queue)
    [job] = other.claim()
    server.client.rpush(f"{Q}processing:w-1", job.id)
    assert queue.recovery.lower("default", "w", queue.recovery.expired("default", 1)[2]["w"]) == 0


# --------------------------------------------------------------------------------------------------------- promote


def test_due_job_is_queued_at_the_place_of_its_submit(queue: JobQueue, server: Server) -> None:
    delayed = queue.submit(delay_s=60)
    behind = queue.submit()
    assert queue.get(behind.id).position == 1
    server.client.delete(f"{Q}bell")
    passes(server, "scheduled", delayed)
    tick(queue)
    assert [queue.get(job.id).position for job in (delayed, behind)] == [1, 2]
    assert server.client.llen(f"{Q}bell") == 1


def test_job_that_is_not_due_waits(queue: JobQueue, worker: Worker) -> None:
    job = queue.submit(delay_s=60)
    assert recover(queue, [], 500, {})[1] == 0
    assert worker.claim() == []
    assert queue.get(job.id).status == "scheduled"


def test_promoting_twice_queues_once(queue: JobQueue, server: Server, worker: Worker) -> None:
    job = queue.submit(delay_s=60)
    passes(server, "scheduled", job)
    assert [recover(queue, [], 500, {})[1] for _ in range(2)] == [1, 0]
    assert ids(worker.claim(2)) == [job.id]


def test_promoting_says_when_there_may_be_more(queue: JobQueue, server: Server) -> None:
    jobs = [queue.submit(delay_s=60) for _ in range(5)]
    passes(server, "scheduled", *jobs)
    assert [recover(queue, [], 2, {})[1] for _ in range(4)] == [2, 2, 1, 0]
    assert queue.books("default").sizes["queued"] == 5


def test_ids_among_the_scheduled_that_do_not_wait_are_dropped(queue: JobQueue, server: Server, worker: Worker) -> None:
    queue.submit()
    [job] = worker.claim()
    server.client.zadd(f"{Q}scheduled", {job.id: 1, new_id(0): 1})
    tick(queue)
    assert server.client.exists(f"{Q}scheduled", f"{Q}queue") == 0
    assert worker.settle(ended(job)) == [True]


# ------------------------------------------------------------------------------------------------------------ trim


@pytest.mark.parametrize("way", ["retry", "delete", "trim"])
def test_dead_letter_stands_under_the_kind_of_its_last_error_until_it_is_none(
    way: str, queue: JobQueue, server: Server, worker: Worker
) -> None:
    queue.submit(max_attempts=2)
    for kind in ("First", "Last"):
        [job] = worker.claim()
        worker.settle(Settlement(job.id, job.token, "failed", IN_PLACE, kind, "it went wrong"))
        assert [each.kind for each in queue.kinds()] == (["Last"] if kind == "Last" else [])
    [last] = queue.kinds()
    assert (last.count, last.job_id, last.at_ms) == (1, job.id, queue.get(job.id).finished_ms)
    if way == "trim":
        server.client.zincrby(f"{Q}failed", -RETENTION_MS["failed"] - 1, job.id)
        tick(queue)
    else:
        getattr(queue, way)(job.id)
    assert queue.kinds() == []
    assert not server.client.exists(f"{Q}kinds", f"{Q}kind:Last", f"{Q}kind:First")


@pytest.mark.parametrize("status", ["done", "failed", "cancelled"])
def test_job_past_its_retention_is_deleted_with_its_index_entry(
    status: str, queue: JobQueue, server: Server, worker: Worker
) -> None:
    queue.submit_many([NewJob(max_attempts=1)] * 2)
    old, young = worker.claim(2)
    worker.settle(ended(old, status), ended(young, status))
    server.client.zincrby(f"{Q}{status}", -RETENTION_MS[status] - 1, old.id)
    assert [recover(queue, [], 500, RETENTION_MS)[2] for _ in range(2)] == [1, 0]
    with pytest.raises(NotFound):
        queue.get(old.id)
    assert queue.get(young.id).status == status
    assert total(queue, "trimmed") == 1


def test_job_that_has_not_ended_is_not_trimmed(queue: JobQueue, server: Server, worker: Worker) -> None:
    queue.submit_many([NewJob()] * 2)
    [running] = worker.claim()
    waiting = queue.page(Filter("queued")).jobs[0]
    server.client.zadd(f"{Q}done", {running.id: 1, waiting.id: 1, new_id(0): 1})
    assert recover(queue, [], 500, RETENTION_MS)[2] == 3
    assert [queue.get(job.id).status for job in (running, waiting)] == ["processing", "queued"]
    assert total(queue, "trimmed") == 0


# ---------------------------------------------------------------------------------------------------------- cancel


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


# ----------------------------------------------------------------------------------------------- an operator's retry


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


# ----------------------------------------------------------------------------------------------------------- leave


def test_worker_that_leaves_is_forgotten(queue: JobQueue, server: Server, worker: Worker) -> None:
    worker.beat()
    worker.claim()
    server.client.rpush(f"{Q}processing:w-1", "!")
    assert [queue.recovery.leave("default", "w", ["w-1", "w-2"]) for _ in range(2)] == [True, True]
    assert queue.look("default").workers == {}
    assert not server.client.exists(f"{Q}processing:w-1", f"{Q}slots", f"{Q}workers", f"{Q}worker:w")


def test_worker_that_still_runs_a_job_is_not_forgotten(queue: JobQueue, server: Server, worker: Worker) -> None:
    queue.submit()
    worker.beat()
    worker.claim()
    before = snapshot(server)
    assert not queue.recovery.leave("default", "w", ["w-1"])
    assert snapshot(server) == before


def test_worker_that_has_beaten_since_is_not_forgotten(queue: JobQueue, server: Server, worker: Worker) -> None:
    worker.beat()
    assert not queue.recovery.leave("default", "w", [], b"1")
    assert queue.recovery.leave("default", "w", [], queue.recovery.expired("default", 1)[2]["w"])


def test_leaving_worker_rings_for_the_token_it_may_have_taken(queue: JobQueue, server: Server, worker: Worker) -> None:
    queue.submit()
    server.client.blmove(f"{Q}bell", f"{Q}processing:w-1", 1)
    assert server.client.lrange(f"{Q}processing:w-1", 0, -1) == ["!"]
    queue.recovery.leave("default", "w", ["w-1"])
    assert server.client.llen(f"{Q}bell") == 1


# ------------------------------------------------------------------------------------------------------------ ring


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


# --------------------------------------------------------------------------------------- a claim that waits in Redis


def waits(server: Server, worker: Worker, **arguments: Any) -> tuple[Thread, list[Claimed]]:
    """A slot that waits in another thread, and what it gets."""
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
    queue.submit()
    assert worker.wait() == []


def test_job_whose_waiting_claim_was_never_answered_goes_back_unharmed(
    queue: JobQueue, server: Server, worker: Worker
) -> None:
    worker.beat()
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


# --------------------------------------------------------------------------------------------- a Redis that forgets


def test_forgotten_scripts_are_sent_again(queue: JobQueue, server: Server, worker: Worker) -> None:
    flush = server.client.script_flush
    flush()
    queue.submit()
    flush()
    [job] = worker.claim()
    flush()
    assert worker.beat(Held(job.id, job.token, 60_000)) == ["ok"]
    flush()
    assert worker.exchange(ended(job)) == ([True], [])
    flush()
    assert queue.get(job.id).status == "done"


@pytest.mark.parametrize("remembered", [[], ["promote"], ["reap"], ["promote", "trim"]], ids="+".join)
def test_scripts_forgotten_before_a_transaction_are_harmless(
    remembered: list[str], queue: JobQueue, server: Server, worker: Worker
) -> None:
    queue.submit_many([NewJob()] * 2)
    expired, done = worker.claim(2)
    worker.settle(ended(done))
    passes(server, "leases", expired)
    server.client.zadd(f"{Q}done", {done.id: 1})
    delayed = queue.submit(delay_s=60)
    passes(server, "scheduled", delayed)
    _, looked, _ = queue.recovery.expired("default", 10)
    server.client.script_flush()
    for name in remembered:
        server.client.script_load(Script(name).text)
    recover(queue, looked, 500, RETENTION_MS)
    assert [queue.get(job.id).status for job in (expired, delayed)] == ["queued", "queued"]
    assert [total(queue, name) for name in ("reaped", "retried", "trimmed")] == [1, 1, 1]
    assert len(queue.get(expired.id).errors) == 1


# ------------------------------------------------------------------------------------------------------ full memory


def test_full_redis_refuses_jobs_and_still_drains(own_server: Server) -> None:
    queue = JobQueue(own_server.url)
    worker, dead = Worker(queue), Worker(queue, "dead")
    queue.submit_many([NewJob(max_attempts=2)] * 4)
    queue.submit(delay_s=60)
    dead.claim()
    worker.beat()
    jobs = worker.claim(2)
    passes(own_server, "scheduled", queue.page(Filter("scheduled")).jobs[0])
    passes(own_server, "leases", *[job for job in queue.page(Filter("processing")).jobs if job.worker == "dead"])
    own_server.client.config_set("maxmemory", 1)

    with pytest.raises(Unavailable, match="maxmemory"):
        queue.submit()
    assert worker.beat(*[Held(job.id, job.token, 60_000) for job in jobs]) == ["ok", "ok"]
    accepted, [last] = worker.exchange(ended(jobs[0]), ended(jobs[1], "failed"))
    assert accepted == [True, True]
    assert tick(queue) == ["queued"]
    assert worker.settle(ended(last)) == [True]
    sizes = queue.books("default").sizes
    assert {status: n for status, n in sizes.items() if n} == {"queued": 2, "scheduled": 1, "done": 2}

    own_server.client.config_set("maxmemory", 0)
    assert queue.submit().position == 3
    assert queue.check("default") == []


def test_full_redis_still_buries_and_revives(own_server: Server) -> None:
    queue = JobQueue(own_server.url)
    worker = Worker(queue)
    queue.submit_many([NewJob(max_attempts=1)] * 2)
    job, other = worker.claim(2)
    own_server.client.config_set("maxmemory", 1)
    assert worker.settle(ended(job, "failed"), ended(other, "failed")) == [True, True]
    assert [kind.count for kind in queue.kinds()] == [2]
    assert queue.retry(job.id, "another payload") == "retried"
    assert queue.sweep("delete", Filter(kind="Boom")).changed == 1
    own_server.client.config_set("maxmemory", 0)
    assert queue.check("default") == []


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_full_redis_takes_every_result_alone_and_late(outcome: str, own_server: Server) -> None:
    queue = JobQueue(own_server.url)
    worker = Worker(queue)
    queue.submit_many([NewJob()] * 2)
    job, late = worker.claim(2)
    passes(own_server, "leases", late)
    tick(queue)
    own_server.client.config_set("maxmemory", 1)
    assert worker.settle(ended(late, outcome)) == [False]
    assert worker.settle(ended(job, outcome)) == [True]
    assert queue.get(job.id).status == OUTCOMES[outcome]


def test_full_redis_still_lets_operators_and_workers_go(own_server: Server) -> None:
    queue = JobQueue(own_server.url)
    worker, dead = Worker(queue), Worker(queue, "dead")
    queue.submit_many([NewJob()] * 3)
    worker.beat()
    dead.beat()
    [job], _ = worker.claim(), dead.claim()
    waiting = queue.page(Filter("queued")).jobs[0]
    own_server.client.config_set("maxmemory", 1)
    assert queue.recovery.lower("default", "dead", queue.recovery.expired("default", 1)[2]["dead"]) == 1
    assert tick(queue) == ["queued"]
    assert queue.cancel(waiting.id) == "cancelled"
    assert queue.retry(waiting.id) == "retried"
    worker.settle(ended(job))
    assert queue.recovery.leave("default", "w", ["w-1"])
