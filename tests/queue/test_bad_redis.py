"""A Redis that forgets its scripts, or has no memory left: what refuses, and what goes on."""

from __future__ import annotations

import pytest

from _jobqueue.records import Held
from _jobqueue.store.scripts import Script
from jobqueue import Filter, JobQueue, NewJob, Unavailable
from tests.harness import Server
from tests.played import (
    RETENTION_MS,
    Q,
    Worker,
    ended,
    passes,
    recover,
    tick,
    total,
)

pytestmark = pytest.mark.usefixtures("in_the_end_all_is_well")
OUTCOMES = {"done": "done", "failed": "scheduled", "cancelled": "cancelled", "released": "queued"}


# ------------------------------------------------------------------------------------------------ a Redis that forgets


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


# --------------------------------------------------------------------------------------------------------- full memory


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
