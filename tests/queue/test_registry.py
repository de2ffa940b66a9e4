"""Queues and their numbers: what is lost with the registry, how many there may be, how one is deleted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import redis

from _jobqueue.store.link import Link
from jobqueue import Conflict, Filter, Invalid, JobQueue, NewJob, NotFound, Unavailable
from tests.harness import Cluster, Server, eventually

REGISTRY = "jq:queues"
GIVEN = "jq:{jq:queues}:given"


def number_of(job_id: str) -> int:
    return int(job_id[15:18], 16)


def numbers(server: Server) -> dict[str, int]:
    return {name: int(number) for name, number in server.client.hgetall(REGISTRY).items()}


def age(queue: JobQueue, s: float = 10.0) -> None:
    """As if what it knows of the registry had been read some time ago."""
    queue._registry._read_at -= s
    missing = queue._registry._missing
    missing.update({name: (since - s, number) for name, (since, number) in missing.items()})


@pytest.fixture
def other(url: str) -> JobQueue:
    return JobQueue(url)


# ------------------------------------------------------------------------------------------------------------- a loss


def test_job_submitted_after_a_loss_is_found_by_everybody(server: Server, queue: JobQueue, other: JobQueue) -> None:
    for name in ("one", "two"):
        queue.submit(queue=name)
    server.client.flushall()
    early = queue.submit(queue="two")  # the number 1 that it remembers is worth nothing
    late = [other.submit(queue="two"), other.submit(queue="one")]
    for each in (queue, other, JobQueue(server.url)):
        assert [each.get(job.id).queue for job in (early, *late)] == ["two", "two", "one"]
    assert numbers(server) == {"two": 0, "one": 1}
    assert server.client.hget("jq:{two}:meta", "number") == "0"


def test_queue_that_a_loss_has_renumbered_is_looked_up_anew(server: Server, queue: JobQueue, other: JobQueue) -> None:
    queue.submit(queue="one"), queue.submit(queue="two")
    server.client.flushall()
    for name in ("two", "one"):
        job = other.submit(queue=name)
        assert queue.get(job.id).queue == name  # by the memory of a moment ago it would be in the other one
        assert queue.cancel(job.id) == "cancelled"
        assert queue.act_on("retry", [job.id]).changed == 1
        queue.delete(job.id)


def test_restored_registry_is_followed(server: Server, queue: JobQueue, other: JobQueue) -> None:
    other.submit(queue="one")
    raw = redis.Redis(port=server.port)
    backup = {key: raw.dump(key) for key in raw.keys("*")}
    queue.submit(queue="two"), queue.submit(queue="three")
    server.client.flushall()
    for key, value in backup.items():
        raw.restore(key, 0, value)
    other.submit(queue="three")
    age(other)
    assert other.submit(queue="one").queue == "one"
    for again in (queue.submit(queue="three"), queue.submit(queue="two"), queue.submit(queue="one")):
        assert JobQueue(server.url).get(again.id).queue == again.queue
    assert numbers(server) == {"one": 0, "three": 1, "two": 2}


def test_lost_registry_follows_the_number_in_the_queue(server: Server, queue: JobQueue, other: JobQueue) -> None:
    jobs = [queue.submit(queue=name) for name in ("one", "two", "three")]
    server.client.delete(REGISTRY, GIVEN)
    other.submit(queue="three")  # it would be the first
    other.submit(queue="one")
    assert numbers(server) == {"three": 2, "one": 0}
    assert [JobQueue(server.url).get(job.id).queue for job in (jobs[0], jobs[2])] == ["one", "three"]


def test_queue_that_the_registry_has_lost_is_entered_again_by_who_remembers_it(
    server: Server, queue: JobQueue, other: JobQueue
) -> None:
    job = queue.submit(queue="one")
    queue.queues()
    server.client.delete(REGISTRY, GIVEN)
    assert queue.queues() == []  # perhaps somebody is deleting it
    age(queue)
    assert queue.queues() == ["one"]
    assert other.get(job.id).id == job.id


def test_queue_of_the_version_before_that_the_registry_has_lost_is_entered_again(
    server: Server, queue: JobQueue
) -> None:
    job = queue.submit(queue="one")
    server.client.hdel("jq:{one}:meta", "number")
    queue.queues()
    server.client.delete(REGISTRY)
    queue.queues()
    age(queue)
    assert (queue.queues(), queue.get(job.id).id) == (["one"], job.id)


def test_two_queues_that_a_loss_has_given_one_number_are_both_found(
    server: Server, queue: JobQueue, other: JobQueue
) -> None:
    before = queue.submit(queue="one")
    server.client.delete(REGISTRY, GIVEN)
    after = other.submit(queue="two")
    assert number_of(before.id) == number_of(after.id) == 0
    age(queue)
    again = queue.submit(queue="one")
    fresh = JobQueue(server.url)
    assert [fresh.get(job.id).queue for job in (before, after, again)] == ["one", "two", "one"]
    assert fresh.cancel(after.id) == fresh.cancel(before.id) == "cancelled"
    assert fresh.act_on("retry", [before.id, after.id]).changed == 2
    assert fresh.queues() in (["one", "two"], ["two", "one"])


def test_first_submit_numbers_a_queue_of_the_version_before(server: Server, queue: JobQueue, other: JobQueue) -> None:
    old = queue.submit_many([NewJob(queue="one")], key="k")
    server.client.hdel("jq:{one}:meta", "number")
    assert other.submit_many([NewJob(queue="one")], key="k")[0].job == old[0].job
    new = other.submit(queue="one")
    assert old[0].job and number_of(new.id) == number_of(old[0].job.id) == 0
    assert server.client.hget("jq:{one}:meta", "number") == "0"
    assert other.books("one").sizes["queued"] == 2


def test_batch_that_a_loss_cuts_in_two_is_found_as_a_whole(
    server: Server, queue: JobQueue, other: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue.submit(queue="zero"), queue.submit(queue="one")
    run, calls = queue._durability.run, []

    def lost_after_the_first(name: str, *args: object) -> object:
        answer = run(name, *args)  # type: ignore[arg-type]
        calls.append(name)
        if len(calls) == 1:
            server.client.flushall()
            other.submit(queue="two")
        return answer

    monkeypatch.setattr(queue._durability, "run", lost_after_the_first)
    answers = queue.submit_many([NewJob(queue="one", payload=n) for n in range(600)], key="k")
    later = [answer.job for answer in answers[250:] if answer.job]
    assert len(later) == 350 and all(JobQueue(server.url).get(job.id).payload == job.payload for job in later[::50])


def test_redis_that_is_lost_again_and_again_is_unavailable(
    server: Server, queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue.submit(queue="one")
    register = queue._registry.renumber

    def lost(name: str, own: str) -> int:
        number = register(name, own)
        server.client.hset("jq:{one}:meta", "number", number + 1)
        return number

    monkeypatch.setattr(queue._registry, "renumber", lost)
    server.client.hset("jq:{one}:meta", "number", 7)
    with pytest.raises(Unavailable):
        queue.submit(queue="one")


def test_lost_registry_of_a_cluster_loses_no_job_of_the_other_shards(cluster: Cluster) -> None:
    jobs = JobQueue(cluster.url)
    submitted = {queue: jobs.submit(queue=queue) for queue in cluster.queues()}
    jobs.queues()
    cluster.owner(REGISTRY).client.delete(REGISTRY, GIVEN)
    other = JobQueue(cluster.url)
    last = cluster.queues()[-1]
    more = other.submit(queue=last)
    assert number_of(more.id) == number_of(submitted[last].id)
    jobs.queues()
    age(jobs)
    jobs.queues()
    fresh = JobQueue(cluster.url)
    assert {fresh.get(job.id).queue for job in submitted.values()} == set(cluster.queues())


# --------------------------------------------------------------------------------------------------- how many there may be


def test_numbers_are_the_lowest_never_given_and_only_then_those_that_are_free(server: Server, queue: JobQueue) -> None:
    queue = JobQueue(server.url, queues_max=5000)
    for number in range(3):
        queue.delete(queue.submit(queue=f"q{number}").id)
    queue.delete_queue("q1")
    assert number_of(queue.submit(queue="new").id) == 3
    server.client.sadd(GIVEN, *range(4095))
    assert number_of(queue.submit(queue="last").id) == 4095
    assert number_of(queue.submit(queue="reused").id) == 1


def test_number_of_a_queue_of_the_version_before_is_given_to_nobody_else(server: Server, queue: JobQueue) -> None:
    server.client.hset(REGISTRY, mapping={"old": 0, "older": 2})
    assert number_of(queue.submit(queue="new").id) == 1
    queue.delete_queue("older") if server.client.exists("jq:{older}:meta") else queue._registry.unregister("older")
    assert number_of(queue.submit(queue="newer").id) == 3


def test_new_queues_are_refused_above_the_limit_and_old_ones_are_not(server: Server) -> None:
    queue = JobQueue(server.url, queues_max=2)
    answers = queue.submit_many([NewJob(queue=name) for name in ("one", "two", "three", "one")])
    assert [type(answer.error) for answer in answers] == [type(None), type(None), Invalid, type(None)]
    assert "2 queues already" in str(answers[2].error)
    queue.submit(queue="two")
    assert JobQueue(server.url, queues_max=1).submit(queue="one").queue == "one"
    queue.register("a-worker-serves-it")  # its operator has said so
    assert queue.queues() == ["one", "two", "a-worker-serves-it"]


# ------------------------------------------------------------------------------------------------------ deleting a queue


def test_queue_without_jobs_is_deleted_with_all_that_it_had(server: Server, queue: JobQueue) -> None:
    job = queue.submit("t", {"n": 1}, queue="gone", key="k", unique_key="u", tags=["a"])
    queue.submit(queue="stays")
    queue.pause("gone")
    queue.delete(job.id)
    queue.delete_queue("gone")
    assert queue.queues() == JobQueue(server.url).queues() == ["stays"]
    assert [key for key in server.client.keys("jq:{gone}*") if server.client.ttl(key) < 0] == []
    with pytest.raises(NotFound):
        queue.get(job.id)
    with pytest.raises(NotFound):
        queue.delete_queue("gone")


@pytest.mark.parametrize("status", ["queued", "scheduled", "cancelled"])
def test_queue_with_jobs_is_not_deleted(queue: JobQueue, status: str) -> None:
    job = queue.submit(queue="used", delay_s=60 if status == "scheduled" else None)
    if status == "cancelled":
        queue.cancel(job.id)
    with pytest.raises(Conflict, match="1 job"):
        queue.delete_queue("used")
    assert queue.get(job.id).status == status
    assert queue.queues() == ["used"]


def test_deleted_queue_that_is_used_again_is_a_new_one(server: Server, queue: JobQueue, other: JobQueue) -> None:
    first = queue.submit(queue="again", key="k")
    other.queues()
    queue.delete(first.id)
    queue.delete_queue("again")
    second = other.submit(queue="again")  # it remembers the old number
    assert (number_of(first.id), number_of(second.id)) == (0, 1)
    assert all(each.get(second.id).id == second.id for each in (queue, other, JobQueue(server.url)))
    assert other.books("again").totals["submitted"] == 1
    assert other.check("again") == []


def test_submit_between_the_two_steps_of_a_deletion_keeps_the_queue(
    server: Server, queue: JobQueue, other: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue.delete(queue.submit(queue="used").id)
    jobs, run = [], queue.store.run

    def meanwhile(name: str, *args: object) -> object:
        if name == "forget":
            jobs.append(other.submit(queue="used"))
        return run(name, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(queue.store, "run", meanwhile)
    with pytest.raises(Conflict):
        queue.delete_queue("used")
    assert JobQueue(server.url).get(jobs[0].id).id == jobs[0].id
    assert JobQueue(server.url).queues() == ["used"]


def test_deletion_that_was_cut_off_can_be_repeated(
    server: Server, queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue.delete(queue.submit(queue="gone").id)

    def lost(*args: object) -> object:
        raise Unavailable("gone")

    with monkeypatch.context() as patch, pytest.raises(Unavailable):
        patch.setattr(queue.store, "run", lambda name, *args: lost() if name == "forget" else [[0] * 6])
        queue.delete_queue("gone")
    queue.delete_queue("gone")
    assert not server.client.exists("jq:{gone}:meta", REGISTRY)


def test_worker_of_a_deleted_queue_goes_on_when_it_is_used_again(server: Server, queue: JobQueue) -> None:
    queue.register("served")
    talk, presence = queue.conversation("served", "w-1", 10_000), queue.presence("served", "w", 10_000)
    dead = queue.conversation("served", "dead-1", 10_000)
    presence.beat({"types": ["echo"]}, {"echo": queue.policy})
    assert talk.exchange(want=1)[1] == dead.exchange(want=1)[1] == []
    server.client.zadd("jq:{served}:workers", {"dead": 1000})
    server.client.set("jq:{served}:worker:dead", "{}")
    queue.delete_queue("served")
    assert queue.queues() == []
    assert server.client.hkeys("jq:{served}:slots") == ["w-1"]
    assert server.client.zrange("jq:{served}:workers", 0, -1) == ["w"]
    assert server.client.exists("jq:{served}:types") == 1
    job = queue.submit(queue="served")
    presence.beat({"types": ["echo"]}, {"echo": queue.policy})
    assert [claimed.id for claimed in talk.exchange(want=1)[1]] == [job.id]
    assert list(queue.look("served").workers) == ["w"]


def test_what_a_process_remembers_of_deleted_queues_is_dropped(queue: JobQueue) -> None:
    for number in range(5):
        job = queue.submit(queue=f"q{number}")
        queue.delete(job.id)
        queue.delete_queue(f"q{number}")
        queue.queues()
    registry = queue._registry
    assert not (registry._numbers or registry._names or registry._missing or registry._types or registry._confirmed)


def test_counts_of_all_queues_come_in_one_trip(server: Server, queue: JobQueue) -> None:
    for number in range(70):  # more than go in one
        queue.submit(queue=f"q{number}", tags=["t"])
    server.client.script_flush()
    assert {name: books.sizes["queued"] for name, books in queue.all_books().items()} == {f"q{n}": 1 for n in range(70)}
    assert list(queue.looks(minutes=1, jobs=1)) == queue.queues()
    assert all(look.types == ["echo"] for look in queue.looks(minutes=1, jobs=1).values())
    assert queue.page(Filter(tag="t")).total == 70


def test_256_queues_cost_a_few_trips(server: Server, queue: JobQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    server.client.hset(REGISTRY, mapping={f"q{number}": number for number in range(256)})
    for look in (queue.all_books, queue.looks, queue.kinds, queue.page, lambda: queue.page(offset=9000)):
        trips: list[int] = []
        ask = Link._ask

        def counted(link: Link, *args: Any, trips: list[int] = trips, ask: Any = ask, **more: Any) -> Any:
            trips.append(len(args))
            return ask(link, *args, **more)

        with monkeypatch.context() as patch:
            patch.setattr(Link, "_ask", counted)
            look()
        assert len(trips) <= 50, (look, len(trips))


@pytest.fixture(scope="module")
def shared_cluster() -> Iterator[Cluster]:
    cluster = Cluster()
    yield cluster
    cluster.close()


@pytest.fixture
def cluster(shared_cluster: Cluster) -> Cluster:
    shared_cluster.flush()
    return shared_cluster


def test_counts_of_all_queues_come_from_all_nodes_of_a_cluster(cluster: Cluster) -> None:
    jobs = JobQueue(cluster.url)
    for name in cluster.queues():
        jobs.submit(queue=name)
    assert {name: books.sizes["queued"] for name, books in jobs.all_books().items()} == dict.fromkeys(
        cluster.queues(), 1
    )
    for name in cluster.queues():
        jobs.delete(next(iter(jobs.page(Filter(queue=name)).jobs)).id)
        jobs.delete_queue(name)
    assert jobs.queues() == []
    assert eventually(lambda: JobQueue(cluster.url).queues(), equals=[]) == []
