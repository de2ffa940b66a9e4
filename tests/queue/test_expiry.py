"""Jobs that must start within some time: nobody starts them later, and wherever they wait they are cancelled."""

from __future__ import annotations

from typing import Any

import pytest

from _jobqueue.records import BACKOFF
from jobqueue import Invalid, Job, JobQueue, KeyReused, NewJob
from tests.harness import Server
from tests.played import Q, Worker, ended, ids, now_ms, passes, run_script, score, snapshot, tick, total

pytestmark = pytest.mark.usefixtures("in_the_end_all_is_well")


def time_is_over(server: Server, *jobs: Any) -> None:
    """For their first start."""
    for job in jobs:
        assert score(server, "expires", job.id) is not None
        over = now_ms(server) - 1
        server.client.zadd(f"{Q}expires", {job.id: over})
        server.client.hset(f"{Q}job:{job.id}", "expires", over)


def is_expired(queue: JobQueue, job: Any, seconds: str = "60") -> bool:
    stored = queue.get(job.id)
    [error] = stored.errors
    assert (stored.status, stored.attempts, stored.expires_at_ms) == ("cancelled", 0, None)
    assert (error["kind"], error["attempt"]) == ("expired", 0)
    assert error["message"] == f"it had not started within {seconds} s"
    return True


def waits(queue: JobQueue, server: Server, where: str) -> Job:
    """A job that waits so, and must start within a minute."""
    if where == "scheduled":
        return queue.submit(delay_s=30, expires_s=60)
    job = queue.submit(expires_s=60)
    if where in ("parked", "parked in a closed lane"):
        assert Worker(queue, "stranger").handles("other").claim() == []
        assert score(server, "held", job.id) is not None
    if where == "a paused queue":
        queue.pause("default")
    if where in ("a paused type", "parked in a closed lane"):
        queue.pause_type("default", "echo")
    return job


WAITING = ("queued", "parked", "scheduled", "a paused queue", "a paused type", "parked in a closed lane")


@pytest.mark.parametrize("where", WAITING)
def test_job_that_has_not_started_in_time_is_cancelled_wherever_it_waits(
    where: str, queue: JobQueue, server: Server
) -> None:
    job = waits(queue, server, where)
    tick(queue)
    assert queue.get(job.id).status in ("queued", "scheduled")
    time_is_over(server, job)
    tick(queue)
    assert is_expired(queue, job)
    assert server.client.exists(f"{Q}expires", f"{Q}queue", f"{Q}held", f"{Q}scheduled", f"{Q}lane:echo") == 0
    assert (total(queue, "expired"), total(queue, "cancelled")) == (1, 1)
    tick(queue)
    assert not server.client.hexists(f"{Q}meta", "expires")


def test_time_begins_with_the_submit(queue: JobQueue, server: Server) -> None:
    job, later = queue.submit(expires_s=60), queue.submit(expires_s=60, delay_s=30)
    for each in (job, later):
        assert each.expires_at_ms == each.created_ms + 60_000 == score(server, "expires", each.id)
        assert queue.get(each.id) == each
        assert each.as_dict()["expires_s"] == 60
    assert "expires_s" not in queue.submit().as_dict()


def test_time_of_a_blocked_job_begins_with_its_release(queue: JobQueue, server: Server, worker: Worker) -> None:
    parent = queue.submit()
    child = queue.submit(after=[parent.id], expires_s=60)
    late = queue.submit(after=[parent.id], expires_s=60, delay_s=30)
    assert child.expires_at_ms is None and queue.get(child.id).expires_at_ms is None
    assert server.client.exists(f"{Q}expires") == 0
    worker.give("done")
    for job in (child, late):
        at = queue.get(job.id).expires_at_ms
        assert at == score(server, "expires", job.id) and now_ms(server) + 55_000 < at <= now_ms(server) + 60_000
    time_is_over(server, child, late)
    tick(queue)
    assert is_expired(queue, child) and is_expired(queue, late)


def test_job_with_no_open_edge_counts_from_its_submit(queue: JobQueue, worker: Worker) -> None:
    parent = queue.submit()
    worker.give("done")
    child = queue.submit(after=[parent.id], expires_s=60)
    assert child.expires_at_ms == child.created_ms + 60_000 and queue.get(child.id) == child


@pytest.mark.parametrize("parked", [False, True])
def test_no_claim_starts_a_job_too_late_though_no_reaper_is_there(
    parked: bool, queue: JobQueue, server: Server, worker: Worker
) -> None:
    worker.handles("echo")
    jobs = [queue.submit(expires_s=60) for _ in range(3)]
    good = queue.submit(expires_s=60)
    if parked:
        assert Worker(queue, "stranger").handles("other").claim() == []
    time_is_over(server, *jobs)
    assert ids(worker.claim(2)) == [good.id]
    assert all(is_expired(queue, job) for job in jobs)
    assert total(queue, "expired") == 3 and server.client.exists(f"{Q}expires") == 0
    worker.end("done")


def test_one_claim_drops_a_bounded_number(queue: JobQueue, server: Server, worker: Worker) -> None:
    jobs = [answer.job for answer in queue.submit_many([NewJob(expires_s=60)] * 600)]
    good = queue.submit()
    time_is_over(server, *jobs)
    for _ in range(2):
        assert worker.claim() == [] and worker.talk.more
    assert (ids(worker.claim()), total(queue, "expired")) == ([good.id], 600)


def test_what_was_to_start_later_is_no_obstacle(queue: JobQueue, server: Server, worker: Worker) -> None:
    """A job whose time is over stands behind; those before it start."""
    first, late = queue.submit(priority="high", expires_s=60), queue.submit(expires_s=60)
    time_is_over(server, late)
    assert ids(worker.claim()) == [first.id]
    assert score(server, "expires", first.id) is None
    tick(queue)
    assert is_expired(queue, late)


def test_it_counts_for_the_first_start_alone(queue: JobQueue, server: Server, worker: Worker) -> None:
    queue.submit(expires_s=60, backoff_s=0)
    [job] = worker.claim()
    assert server.client.exists(f"{Q}expires") == 0
    worker.settle(ended(job, "failed", BACKOFF))
    server.client.hset(f"{Q}job:{job.id}", "expires", now_ms(server) - 1)
    tick(queue)
    tick(queue)
    [again] = worker.claim()
    assert again.attempt == 2


@pytest.mark.parametrize("how", ["snoozed", "reaped"])
def test_what_has_started_expires_no_more(how: str, queue: JobQueue, server: Server, worker: Worker) -> None:
    queue.submit(expires_s=60)
    [job] = worker.claim()
    if how == "snoozed":
        worker.end("snoozed", delay_ms=1000)
        passes(server, "scheduled", job)
    else:
        passes(server, "leases", job)
    server.client.hset(f"{Q}job:{job.id}", "expires", now_ms(server) - 1)
    tick(queue)
    assert (queue.get(job.id).status, server.client.exists(f"{Q}expires")) == ("queued", 0)


@pytest.mark.parametrize("how", ["released", "never seen"])
def test_what_was_given_back_unharmed_has_not_started(
    how: str, queue: JobQueue, server: Server, worker: Worker
) -> None:
    queue.submit(expires_s=60)
    if how == "released":
        worker.claim()
        worker.end("released")
    else:
        worker.exchange(lost=True)
        worker.exchange(want=0)
    [job] = queue.page().jobs
    assert score(server, "expires", job.id) == queue.get(job.id).expires_at_ms
    time_is_over(server, job)
    tick(queue)
    assert is_expired(queue, job)


def test_retry_begins_the_time_anew(queue: JobQueue, server: Server, worker: Worker) -> None:
    job = queue.submit(expires_s=60)
    time_is_over(server, job)
    tick(queue)
    queue.retry(job.id)
    at = score(server, "expires", job.id)
    assert at and now_ms(server) + 55_000 < at <= now_ms(server) + 60_000 and queue.get(job.id).expires_at_ms == at
    tick(queue)
    assert worker.give("done") == [job.id]


def test_retry_of_what_has_started_before_ends_the_time(queue: JobQueue, server: Server, worker: Worker) -> None:
    job = queue.submit(expires_s=60)
    worker.give("failed")
    queue.retry(job.id)
    stored = queue.get(job.id)
    assert (stored.expires_ms, stored.expires_at_ms, server.client.exists(f"{Q}expires")) == (None, None, 0)
    queue.cancel(job.id)
    queue.retry(job.id)
    assert server.client.exists(f"{Q}expires") == 0


def test_retried_child_has_its_time_when_it_is_released(queue: JobQueue, server: Server, worker: Worker) -> None:
    parent = queue.submit()
    child = queue.submit(after=[parent.id], expires_s=60)
    queue.cancel(parent.id)
    queue.retry(child.id)
    assert (queue.get(child.id).status, server.client.exists(f"{Q}expires")) == ("blocked", 0)
    queue.retry(parent.id)
    worker.give("done")
    assert score(server, "expires", child.id) is not None


def test_expired_parent_is_as_a_cancelled_one(queue: JobQueue, server: Server) -> None:
    parent = queue.submit(expires_s=60)
    child, callback = queue.submit(after=[parent.id]), queue.submit(after=[parent.id], when="ended")
    time_is_over(server, parent)
    tick(queue)
    assert [queue.get(job.id).status for job in (parent, child, callback)] == ["cancelled", "cancelled", "queued"]
    assert queue.get(child.id).errors[-1]["kind"] == "parent_gone"


def test_parent_that_a_claim_drops_releases_what_waits_for_its_end(
    queue: JobQueue, server: Server, worker: Worker
) -> None:
    parent = queue.submit(expires_s=60)
    callback = queue.submit(after=[parent.id], when="ended")
    time_is_over(server, parent)
    assert worker.claim() == []
    assert worker.give("done") == [callback.id]


def test_claim_settles_and_drops_and_counts_each_once(queue: JobQueue, server: Server, worker: Worker) -> None:
    done, late = queue.submit(), queue.submit(expires_s=60)
    [job] = worker.claim()
    assert job.id == done.id
    time_is_over(server, late)
    worker.exchange(ended(job))
    worker.running = []
    totals = queue.books("default").totals
    assert (totals["done"], totals["cancelled"], totals["expired"]) == (1, 1, 1)
    assert is_expired(queue, late)


def test_expire_sent_twice_cancels_once(queue: JobQueue, server: Server) -> None:
    jobs = [queue.submit(expires_s=60) for _ in range(5)]
    time_is_over(server, *jobs)
    assert len(run_script(queue, "expire", "default", [3])) == 4
    assert len(run_script(queue, "expire", "default", [3])) == 3
    before = snapshot(server)
    assert run_script(queue, "expire", "default", [3]) == [0]
    assert {key: value for key, value in snapshot(server).items() if key != f"{Q}meta"} == {
        key: value for key, value in before.items() if key != f"{Q}meta"
    }


@pytest.mark.parametrize("act", ["cancel", "delete"])
def test_nothing_is_left_of_a_job_that_ends_before(act: str, queue: JobQueue, server: Server) -> None:
    job = queue.submit(expires_s=60)
    getattr(queue, act)(job.id)
    assert server.client.exists(f"{Q}expires") == 0


def test_expired_job_frees_its_unique_key(queue: JobQueue, server: Server) -> None:
    job = queue.submit(unique_key="u", expires_s=60)
    time_is_over(server, job)
    tick(queue)
    assert queue.submit(unique_key="u").id != job.id


def test_queues_that_use_it_not_hold_nothing_of_it(queue: JobQueue, server: Server, worker: Worker) -> None:
    queue.submit()
    worker.give("done")
    tick(queue)
    assert not server.client.hexists(f"{Q}meta", "expires")


def test_it_belongs_to_what_was_asked_under_a_key(queue: JobQueue) -> None:
    job = queue.submit(expires_s=60, key="k")
    assert queue.submit(expires_s=60, key="k").id == job.id
    with pytest.raises(KeyReused):
        queue.submit(expires_s=61, key="k")


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"expires_s": 0}, "/expires_s"),
        ({"expires_s": -1}, "/expires_s"),
        ({"expires_s": True}, "/expires_s"),
        ({"expires_s": "60"}, "/expires_s"),
        ({"expires_s": 31_536_001}, "/expires_s"),
        ({"expires_s": 60, "delay_s": 60}, "/expires_s"),
    ],
)
def test_what_cannot_be_is_refused(fields: dict[str, Any], pointer: str, queue: JobQueue) -> None:
    with pytest.raises(Invalid) as refused:
        queue.submit(**fields)
    assert refused.value.problems[-1][0] == pointer


# ------------------------------------------------------------------------------------------------------- the checker


DAMAGE = {
    "lost": lambda server, job: server.client.zrem(f"{Q}expires", job.id),
    "at another time": lambda server, job: server.client.zincrby(f"{Q}expires", 1, job.id),
    "of nobody": lambda server, job: server.client.zadd(f"{Q}expires", {"no such job": now_ms(server) + 60_000}),
    "unseen": lambda server, job: server.client.hdel(f"{Q}meta", "expires"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_reported_and_repaired(name: str, queue: JobQueue, server: Server) -> None:
    job = queue.submit(expires_s=60)
    assert queue.check("default") == []
    DAMAGE[name](server, job)
    assert len(queue.check("default", repair=True)) == 1
    assert queue.check("default") == []
    time_is_over(server, job)
    tick(queue)
    assert is_expired(queue, job)


def test_nobody_who_cancels_in_time_is_reported(queue: JobQueue, server: Server) -> None:
    job = queue.submit(expires_s=60)
    long_ago = now_ms(server) - 61_000
    server.client.zadd(f"{Q}expires", {job.id: long_ago})
    server.client.hset(f"{Q}job:{job.id}", "expires", long_ago)
    [line] = queue.check("default")
    assert job.id in line and "is a reaper running?" in line
    tick(queue)
