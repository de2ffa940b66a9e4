"""Idempotency keys: a request is compared as a whole, over all its queues; and scripts are cut by bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import pytest

from _jobqueue.store.chunks import BYTES_PER_SCRIPT, JOBS_PER_SCRIPT
from _jobqueue.store.ids import new_id
from jobqueue import Invalid, JobQueue, JobQueueError, KeyReused, NewJob, Submitted, Unavailable
from tests.harness import Cluster, Server, System

DAY_MS = 86_400_000


def ids(answers: list[Submitted]) -> list[str]:
    assert all(answer.job for answer in answers), answers
    return [answer.job.id for answer in answers if answer.job]


def errors(answers: list[Submitted]) -> set[type]:
    return {type(answer.error) for answer in answers}


def stored(queue: JobQueue) -> int:
    return sum(books.totals.get("submitted", 0) for books in queue.all_books().values())


@pytest.fixture(scope="module")
def shared_cluster() -> Iterator[Cluster]:
    cluster = Cluster()
    yield cluster
    cluster.close()


@pytest.fixture(params=["one server", "cluster"])
def places(request: pytest.FixtureRequest) -> tuple[JobQueue, list[str]]:
    """JobQueue, and the names of three queues: on a Cluster each on another shard."""
    if request.param == "cluster":
        cluster = request.getfixturevalue("shared_cluster")
        cluster.flush()
        return JobQueue(cluster.url), cluster.queues()
    return JobQueue(request.getfixturevalue("server").url), ["a", "b", "c"]


def test_another_queue_under_the_same_key_is_another_request(places: tuple[JobQueue, list[str]]) -> None:
    queue, (a, b, _) = places
    first = queue.submit(payload=1, queue=a, key="k")
    for other in (NewJob(payload=1, queue=b), NewJob(payload=2, queue=a), NewJob(payload=2, queue=b)):
        with pytest.raises(KeyReused):
            queue.submit_one(other, "k")
    assert queue.submit(payload=1, queue=a, key="k").id == first.id
    assert queue.submit(payload=1, queue=b, key="k2").id != first.id
    assert stored(queue) == 2


def test_a_batch_is_compared_as_a_whole(places: tuple[JobQueue, list[str]]) -> None:
    queue, (a, b, c) = places
    batch = [NewJob(payload=n, queue=name) for n, name in enumerate((a, b, a, b))]
    first = queue.submit_many(batch, key="k")
    assert ids(queue.submit_many(batch, key="k")) == ids(first)
    others: list[list[NewJob]] = [
        [batch[0], batch[2]],  # what one of the queues had
        [batch[1], batch[3]],
        [batch[0], batch[2], batch[1], batch[3]],  # each queue has the same in the same order
        [*batch, NewJob(payload=9, queue=c)],
        [NewJob(payload=9, queue=c)],
        [NewJob(payload=job.payload, queue=b if job.queue == a else a) for job in batch],
    ]
    for other in others:
        answers = queue.submit_many(other, key="k")
        assert errors(answers) == {KeyReused}, other
    assert stored(queue) == 4


def test_key_of_the_version_before_gives_its_jobs_again(places: tuple[JobQueue, list[str]]) -> None:
    queue, (a, b, _) = places
    batch = [NewJob(payload="x" * size, queue=name) for size in (10, 100, 5000) for name in (a, b)]
    first = queue.submit_many(batch, key="k")
    _client(queue, "jq:idem:k").delete("jq:idem:k")  # which only remembered what each queue was asked
    for other in ([*batch, NewJob(queue=a)], [NewJob(queue=a, payload="y")]):
        assert errors(queue.submit_many(other, key="k")) == {KeyReused}
    again = queue.submit_many(batch, key="k")
    assert ids(again) == ids(first) and all(answer.replayed for answer in again)
    assert stored(queue) == 6


def test_fingerprint_of_the_version_before_is_that_of_whole_payloads(server: Server, queue: JobQueue) -> None:
    for size in (10, 100, 2048, 2049, 9000):
        queue.submit("t", "x" * (size - 2), key=f"k{size}")
        raw = b'"' + b"x" * (size - 2) + b'"'
        parts = [b"5", b"", b"", b"", b"type", b"t"]
        if 64 < size <= 512:
            parts += [b"payload", raw[:64], b"payload.1", raw[64:]]
        else:
            parts += [b"payload", raw]
        digest = hashlib.sha256(b"".join(b"%d:%s" % (len(part), part) for part in parts)).hexdigest()
        assert server.client.hget(f"jq:{{default}}:idem:k{size}", "request") == digest[:32]


def test_half_stored_batch_over_queues_is_completed_by_its_repeat(
    places: tuple[JobQueue, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    queue, (a, b, c) = places
    batch = [NewJob(payload=n, queue=name) for n in range(3) for name in (a, b, c)]
    run = queue._durability.run

    def away(name: str, at: str, *args: Any) -> Any:
        if at == b:
            raise Unavailable("gone")
        return run(name, at, *args)

    with monkeypatch.context() as patch:
        patch.setattr(queue._durability, "run", away)
        first = queue.submit_many(batch, key="k")
    assert [bool(answer.job) for answer in first] == [True, False, False] * 3
    assert errors(queue.submit_many(batch[:3], key="k")) == {KeyReused}
    again = queue.submit_many(batch, key="k")
    assert [answer.replayed for answer in again] == [True, False, False] * 3
    assert ids(queue.submit_many(batch, key="k")) == ids(again)
    assert stored(queue) == 9


def test_answer_that_was_lost_leaves_a_key_that_can_be_repeated(
    places: tuple[JobQueue, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    queue, (a, b, _) = places
    batch = [NewJob(payload=n, queue=name) for n in range(3) for name in (a, b)]
    run = queue._durability.run

    def lost(*args: Any) -> Any:
        run(*args)
        raise Unavailable("gone")

    with monkeypatch.context() as patch:
        patch.setattr(queue._durability, "run", lost)
        assert errors(queue.submit_many(batch, key="k")) == {Unavailable}
    assert len(ids(queue.submit_many(batch, key="k"))) == 6
    assert errors(queue.submit_many(batch[:1], key="k")) == {KeyReused}
    assert stored(queue) == 6


def test_request_of_which_nothing_was_stored_may_be_corrected(places: tuple[JobQueue, list[str]]) -> None:
    queue, (a, b, _) = places
    queue._registry._queues_max = 1
    queue.submit(queue=a)
    with pytest.raises(Invalid):
        queue.submit(queue=b, key="k")
    assert queue.submit(queue=a, key="k").queue == a


def test_request_that_is_refused_makes_no_queue(places: tuple[JobQueue, list[str]]) -> None:
    queue, (a, b, c) = places
    queue.submit(queue=a, key="k")
    with pytest.raises(KeyReused):
        queue.submit(queue=b, key="k")
    assert errors(queue.submit_many([NewJob(queue=c), NewJob(queue=b)], key="k")) == {KeyReused}
    assert queue.queues() == [a]


def test_whole_request_is_remembered_for_a_day(places: tuple[JobQueue, list[str]]) -> None:
    queue, (a, _, _) = places
    queue.submit(queue=a, key="k")
    left = _client(queue, "jq:idem:k").pttl("jq:idem:k")
    assert DAY_MS - 60_000 < left <= DAY_MS


def test_repeat_writes_nothing_while_redis_is_full(own_server: Server) -> None:
    queue = JobQueue(own_server.url)
    first = queue.submit(payload=1, key="k")
    own_server.client.config_set("maxmemory", "1")
    assert queue.submit(payload=1, key="k").id == first.id
    with pytest.raises(KeyReused):
        queue.submit(payload=1, queue="other", key="k")
    with pytest.raises(JobQueueError):
        queue.submit(payload=1, key="new")
    own_server.client.config_set("maxmemory", "0")
    assert own_server.client.keys("jq:idem:*") == ["jq:idem:k"]


def test_shard_that_remembers_requests_may_be_away(shared_cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    shared_cluster.flush()
    queue = JobQueue(shared_cluster.url)
    run_at, asked = queue.store.run_at, []

    def away(key: str, name: str, *args: Any) -> Any:
        if name == "remember":
            asked.append(key)
            raise Unavailable("gone")
        return run_at(key, name, *args)

    monkeypatch.setattr(queue.store, "run_at", away)
    first = queue.submit(payload=1, key="k")
    assert queue.submit(payload=1, key="k").id == first.id
    assert asked == ["jq:idem:k"]  # and not waited for again and again


def test_another_queue_under_the_same_key_is_422(system: System) -> None:
    system.api()
    one = system.post("/jobs", {"payload": 1, "queue": "a"}, Idempotency_Key="k")
    two = system.post("/jobs", {"payload": 1, "queue": "b"}, Idempotency_Key="k")
    assert (one.status_code, two.status_code, two.json()["code"]) == (201, 422, "idempotency_key_reused")
    batch = {"jobs": [{"payload": 1, "queue": "a"}, {"payload": 2, "queue": "b"}]}
    assert system.post("/jobs/batch", batch, Idempotency_Key="b").status_code == 201
    assert system.post("/jobs/batch", {"jobs": batch["jobs"][:1]}, Idempotency_Key="b").status_code == 422
    again = system.post("/jobs/batch", batch, Idempotency_Key="b")
    assert (again.status_code, again.headers["Idempotent-Replayed"]) == (200, "true")


# ------------------------------------------------------------------------------------------------ scripts cut by bytes


@pytest.fixture
def sizes(queue: JobQueue, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Jobs and bytes of each submit script."""
    seen: list[tuple[int, int]] = []
    run = queue._durability.run

    def noted(name: str, at: str, args: Any, *more: Any) -> Any:
        seen.append((args[2], sum(len(str(part)) if not isinstance(part, bytes) else len(part) for part in args)))
        return run(name, at, args, *more)

    monkeypatch.setattr(queue._durability, "run", noted)
    return seen


def test_large_jobs_are_stored_in_scripts_of_some_mib(queue: JobQueue, sizes: list[tuple[int, int]]) -> None:
    answers = queue.submit_many([NewJob(payload="x" * 1_000_000) for _ in range(30)])
    assert len(ids(answers)) == 30
    assert [jobs for jobs, _ in sizes] == [4] * 7 + [2]
    assert max(size for _, size in sizes) < BYTES_PER_SCRIPT + 10_000
    assert queue.check("default") == []


def test_small_jobs_are_cut_as_before(queue: JobQueue, sizes: list[tuple[int, int]]) -> None:
    queue.submit_many([NewJob(payload="x" * 10_000) for _ in range(600)])
    assert [jobs for jobs, _ in sizes] == [JOBS_PER_SCRIPT, JOBS_PER_SCRIPT, 100]


def test_ids_under_a_key_do_not_follow_from_the_cut(queue: JobQueue) -> None:
    answers = queue.submit_many([NewJob(payload="x" * (1_000_000 if n % 50 == 0 else 5)) for n in range(600)], key="k")
    for index, job_id in enumerate(ids(answers)):
        block, within = divmod(index, JOBS_PER_SCRIPT)
        seed = f"default\0{'k' if not block else f'k{chr(0)}{block}'}\0{within}"
        assert job_id == new_id(0, hashlib.sha256(seed.encode()).digest()[:16])


def test_large_batch_under_a_key_is_repeated_and_completed(
    server: Server, queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = [NewJob(payload="x" * 900_000) for _ in range(10)]
    run, calls = queue._durability.run, []

    def third_is_lost(*args: Any) -> Any:
        calls.append(args)
        if len(calls) == 3:
            raise Unavailable("gone")
        return run(*args)

    with monkeypatch.context() as patch:
        patch.setattr(queue._durability, "run", third_is_lost)
        first = queue.submit_many(batch, key="k")
    assert [bool(answer.job) for answer in first] == [True] * 8 + [False] * 2
    again = queue.submit_many(batch, key="k")
    assert [answer.replayed for answer in again] == [True] * 8 + [False] * 2
    assert ids(queue.submit_many(batch, key="k")) == ids(again)
    for job_id in ids(again):
        queue.delete(job_id)
    assert all(server.client.pttl(key) > 0 for key in server.client.keys("*idem:*"))


def test_large_batch_that_the_version_before_stored_in_one_script_is_given_again(
    server: Server, queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = [NewJob(payload="x" * 900_000) for _ in range(10)]
    with monkeypatch.context() as patch:
        patch.setattr("_jobqueue.store.chunks.BYTES_PER_SCRIPT", 10**9)
        first = queue.submit_many(batch, key="k")
    server.client.delete("jq:idem:k")
    again = queue.submit_many(batch, key="k")
    assert ids(again) == ids(first) and all(answer.replayed for answer in again)
    assert queue.books("default").sizes["queued"] == 10


def _client(queue: JobQueue, key: str) -> Any:
    servers = queue.store.servers
    return servers.client(servers.owner(key))
