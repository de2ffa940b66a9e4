"""The bound on names that are alive under patterns."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from _jobqueue.schedules import Schedule
from jobqueue import Conflict, Filter, Invalid, JobQueue, Limit, NewJob, QueueFull, TooManyNames
from tests.harness import Server
from tests.played import Q, Worker, ids, snapshot, tick

MOST = 10_000


@pytest.fixture
def tenants(queue: JobQueue, worker: Worker) -> None:
    """A pattern, a limit with a name of its own, and a worker that knows them."""
    queue.limits.put("default", "tenant:*", Limit(max_running=1))
    queue.limits.put("default", "tenant:own", Limit(max_running=1))


def fill(server: Server, leave: int) -> None:
    """So many names are alive that this number more may be; the definitions do not count."""
    alive = (
        server.client.zcard(f"{Q}limited") - server.client.hlen(f"{Q}patterns") - server.client.hlen(f"{Q}limits") + 1
    )
    names = {f"tenant:full-{n}": 0 for n in range(MOST - alive - leave)}
    server.client.zadd(f"{Q}limited", names)


def to(*names: str, **more: Any) -> NewJob:
    return NewJob(limits=list(names), **more)


def test_exactly_so_many_names_are_fine(queue: JobQueue, worker: Worker, server: Server, tenants: None) -> None:
    fill(server, leave=1)
    one = queue.submit("echo", limits=["tenant:1"])
    assert ids(worker.claim()) == [one.id]
    assert server.client.zscore(f"{Q}limited", "tenant:1") == 0
    before = snapshot(server)
    with pytest.raises(TooManyNames) as refused:
        queue.submit("echo", limits=["api", "tenant:2"])
    [(pointer, said)] = refused.value.problems
    assert pointer == "/limits" and "10,000 names" in said and "tenant:2" in said and isinstance(refused.value, Invalid)
    assert snapshot(server) == before


def test_what_takes_no_room_is_stored(queue: JobQueue, server: Server, tenants: None) -> None:
    fill(server, leave=0)
    for names in ([], ["tenant:full-7"], ["tenant:own"], ["api:9"], ["api:9", "tenant:full-7", "tenant:own"]):
        assert queue.submit("echo", limits=names).status == "queued"
    with pytest.raises(TooManyNames):
        queue.submit("echo", limits=["api:9", "tenant:new"])


def test_longest_name_and_shortest_pattern(queue: JobQueue, server: Server, worker: Worker) -> None:
    queue.limits.put("default", "*", Limit(max_running=1))
    fill(server, leave=0)
    with pytest.raises(TooManyNames):
        queue.submit("echo", limits=["x" * 64])
    assert queue.submit("any").status == "queued", "the name of its type is no name that it gives"


def test_name_that_is_dropped_makes_room(queue: JobQueue, server: Server, worker: Worker, tenants: None) -> None:
    """The tick drops those that nobody uses."""
    fill(server, leave=0)
    with pytest.raises(TooManyNames):
        queue.submit("echo", limits=["tenant:1"])
    tick(queue)
    assert queue.submit("echo", limits=["tenant:1"]).status == "queued"


def test_batch_is_stored_whole_or_not_at_all(queue: JobQueue, server: Server, tenants: None) -> None:
    fill(server, leave=2)
    batch = [to("tenant:1"), to("tenant:2"), to("tenant:1"), to()]
    before = snapshot(server)
    answers = queue.submit_many([*batch, to("tenant:3")])
    assert all(isinstance(answer.error, TooManyNames) for answer in answers)
    answers = queue.submit_many([*batch, to("tenant:3", name="last", after=["*"])])
    assert all(isinstance(answer.error, TooManyNames) for answer in answers)
    stored = snapshot(server)
    assert {key: stored[key] for key in before if key != "jq:queues"} == {
        key: before[key] for key in before if key != "jq:queues"
    }
    assert queue.page(Filter("queued")).jobs == []
    assert all(answer.job for answer in queue.submit_many(batch))


def test_repeat_is_answered_as_ever(queue: JobQueue, server: Server, tenants: None) -> None:
    """By its idempotency key, and by a unique key that a living job holds."""
    [first] = queue.submit_many([to("tenant:1")], key="k")
    queue.submit("echo", limits=["tenant:2"], unique_key="u")
    fill(server, leave=0)
    [again] = queue.submit_many([to("tenant:1")], key="k")
    assert again.replayed and again.job and first.job and again.job.id == first.job.id
    answers = queue.submit_many([to("tenant:2", unique_key="u"), to("tenant:full-1")])
    assert answers[0].existing and answers[1].job
    [refused] = queue.submit_many([to("tenant:3")], key="refused")
    assert isinstance(refused.error, TooManyNames)
    tick(queue)
    [stored] = queue.submit_many([to("tenant:3")], key="refused")
    assert stored.job and not stored.replayed


def test_schedule_that_names_one_too_many(queue: JobQueue, server: Server, tenants: None) -> None:
    schedule = {"type": "echo", "every_s": 3600, "limits": ["tenant:1"]}
    queue.schedules.put("default", "nightly", Schedule.of_json(schedule))
    fill(server, leave=0)
    with pytest.raises(Conflict):
        queue.schedules.run("default", "nightly")
    tick(queue)
    queue.schedules.run("default", "nightly")
    assert [job.limits for job in queue.page(Filter("queued")).jobs] == [["tenant:1"]]


def test_full_queue_says_so_first(queue: JobQueue, server: Server, tenants: None) -> None:
    fill(server, leave=0)
    queue.limit_waiting("default", 0)
    with pytest.raises(QueueFull):
        queue.submit("echo", limits=["tenant:1"])


def test_it_costs_one_command_and_none_without_a_limit(queue: JobQueue, server: Server, tenants: None) -> None:
    def asked() -> int:
        return int(server.client.info("commandstats").get("cmdstat_zcard", {}).get("calls", 0))

    queue.submit("echo", limits=["tenant:1"])  # and rings
    counts = [asked()]
    for jobs in ([to("tenant:1")], [to("tenant:1", "tenant:2")] * 50, [to()] * 50):
        queue.submit_many(jobs)
        counts.append(asked())
    assert [after - before for before, after in itertools.pairwise(counts)] == [1, 1, 0]
