"""What a 2xx waits for: nothing more, an fsync, or a replica.

``Front`` stands before a real Redis. It says which version that is, and answers WAITAOF as the test wants (the command came
with Redis 7.2): so the tests do not depend on the version that is installed."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import hiredis
import pytest

from _jobqueue.config import Config
from jobqueue import JobQueue, NewJob
from tests.harness import Cluster, Server, System, eventually

Counts = tuple[int, int] | str  # local, replicas; or an error


class Front:
    """Relays each command to Redis and its answer back; notes, for each connection, the commands in order."""

    def __init__(self, server: Server, version: str, aof: Counts = (0, 0)) -> None:
        self.server, self.version, self.aof = server, version, aof
        self.replicas: int | None = None  # how many it says there are; None: as it is
        self.seen: list[list[str]] = []
        self.cut_at = ""  # the connection is closed instead of passing this command on
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self.listener.getsockname()[1]}/0"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        commands, seen = hiredis.Reader(), list[str]()
        self.seen.append(seen)
        with client, socket.create_connection(("127.0.0.1", self.server.port)) as redis:
            while data := client.recv(65536):
                commands.feed(data)
                while (command := commands.gets()) is not False:
                    name = command[0].decode().upper()
                    seen.append(name)
                    if name == self.cut_at:
                        return
                    client.sendall(self._answer(name, command, redis))

    def _answer(self, name: str, command: list[bytes], redis: socket.socket) -> bytes:
        if name == "WAITAOF":
            return f"-{self.aof}\r\n".encode() if isinstance(self.aof, str) else b"*2\r\n:%d\r\n:%d\r\n" % self.aof
        if name == "INFO" and command[1:] == [b"server"]:
            return _bulk(f"redis_version:{self.version}\r\n")
        if name == "INFO" and command[1:] == [b"replication"] and self.replicas is not None:
            return _bulk("".join(f"slave{n}:ip=127.0.0.1,port={n},state=online\r\n" for n in range(self.replicas)))
        redis.sendall(hiredis.pack_command(tuple(command)))
        answer, raw = hiredis.Reader(), b""
        while answer.gets() is False:
            raw += (part := redis.recv(65536))
            answer.feed(part)
        return raw

    def close(self) -> None:
        self.listener.close()


def _bulk(text: str) -> bytes:
    return b"$%d\r\n%s\r\n" % (len(text), text.encode())


@pytest.fixture
def front(server: Server) -> Iterator[Front]:
    front = Front(server, "7.4.0")
    yield front
    front.close()


@pytest.fixture
def old(own_server: Server) -> Iterator[Front]:
    """A Redis without WAITAOF."""
    front = Front(own_server, "7.0.15")
    yield front
    front.close()


@pytest.fixture
def pair() -> Iterator[tuple[Server, Server]]:
    """A primary and its replica; the test may stop the replica."""
    with closing(Server()) as primary:
        follow = ("--repl-diskless-sync-delay", "0", "--replicaof", "127.0.0.1", str(primary.port))
        with closing(Server(*follow)) as replica:
            eventually(lambda: primary.client.wait(1, 100), equals=1)
            yield primary, replica


def durable(front: Front, mode: str = "fsync") -> JobQueue:
    return JobQueue(front.url, durability=mode)


# ----------------------------------------------------------------------------------------------------------- fsync


def test_an_fsync_that_waitaof_counts_is_confirmed(front: Front) -> None:
    front.aof = (1, 0)
    stored = durable(front).submit_one(NewJob("noop"))
    assert stored.job and (stored.job.durability, stored.unconfirmed) == ("fsync", "")


def test_a_count_of_none_is_no_confirmation_and_the_job_is_stored_all_the_same(front: Front) -> None:
    jobs = durable(front)
    stored = jobs.submit_one(NewJob("noop"))
    assert stored.job and stored.job.durability is None
    assert stored.unconfirmed == "stored, but not confirmed as fsync: it is not on disk after 1.5 s"
    assert jobs.get(stored.job.id).status == "queued"


def test_waitaof_follows_the_script_and_a_write_on_the_same_connection(front: Front) -> None:
    front.aof = (1, 0)
    jobs = durable(front)
    for _ in range(2):
        jobs.submit_one(NewJob("noop"), key="k")
    [confirming] = [seen for seen in front.seen if "WAITAOF" in seen]
    # The repeat writes nothing itself; a write before each WAITAOF gives it something to wait for.
    scripts = [name for name in confirming if name in ("EVALSHA", "EVAL", "HSET", "WAITAOF")]
    assert scripts in (
        ["EVALSHA", "EVAL", "HSET", "WAITAOF", "EVALSHA", "HSET", "WAITAOF"],
        ["EVALSHA", "HSET", "WAITAOF"] * 2,
    )


def test_a_connection_lost_before_the_answer_confirms_nothing(front: Front) -> None:
    front.aof, front.cut_at = (1, 0), "WAITAOF"
    stored = durable(front).submit_one(NewJob("noop"))
    assert stored.job and "not confirmed as fsync: Redis does not answer" in stored.unconfirmed
    front.cut_at = "HSET"
    assert durable(front).submit_one(NewJob("noop")).unconfirmed


def test_an_error_from_waitaof_confirms_nothing(front: Front) -> None:
    front.aof = "ERR WAITAOF cannot be used with replica instances"
    assert "replica instances" in durable(front).submit_one(NewJob("noop")).unconfirmed


@pytest.mark.long(4)
def test_an_old_redis_confirms_an_fsync_only_under_appendfsync_always(old: Front) -> None:
    jobs, redis = durable(old), old.server.client
    redis.config_set("appendfsync", "everysec")
    assert "appendfsync always" in jobs.submit_one(NewJob("noop")).unconfirmed
    redis.config_set("appendfsync", "always")
    eventually(lambda: jobs.submit_one(NewJob("noop")).unconfirmed, equals="")
    redis.config_set("no-appendfsync-on-rewrite", "yes")
    eventually(lambda: jobs.submit_one(NewJob("noop")).unconfirmed, equals=bool)
    assert not any({"WAIT", "WAITAOF"} & set(seen) for seen in old.seen)


def test_a_redis_without_an_append_only_file_confirms_no_fsync(old: Front) -> None:
    old.server.client.config_set("appendonly", "no")
    for old.version in ("7.0.15", "7.4.0"):
        assert "no append-only file" in durable(old).submit_one(NewJob("noop")).unconfirmed


# ------------------------------------------------------------------------------------------------------ replicated


def test_an_old_redis_waits_for_a_replica_and_a_new_one_for_its_fsync(front: Front) -> None:
    front.aof, front.replicas = (1, 1), 1
    stored = durable(front, "replicated").submit_one(NewJob("noop"))
    assert stored.job and stored.job.durability == "replicated"
    front.aof = (1, 0)
    assert "0 of 1 replicas have it" in durable(front, "replicated").submit_one(NewJob("noop")).unconfirmed
    front.version = "7.0.15"
    assert "0 of 1 replicas have it" in durable(front, "replicated").submit_one(NewJob("noop")).unconfirmed
    assert any("WAIT" in seen for seen in front.seen)


def test_all_replicas_are_waited_for_because_any_may_become_the_primary(front: Front) -> None:
    front.aof, front.replicas = (1, 1), 2
    jobs = durable(front, "replicated")
    assert "1 of 2 replicas have it" in jobs.submit_one(NewJob("noop")).unconfirmed
    front.aof = (1, 2)
    assert not jobs.submit_one(NewJob("noop")).unconfirmed


def test_a_replica_that_has_just_left_is_still_waited_for(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("_jobqueue.store.durability.DURABILITY_KEPT_S", 0)
    front.aof, front.replicas = (1, 1), 2
    jobs = durable(front, "replicated")
    jobs.submit_one(NewJob("noop"))
    front.replicas = 1  # it may be the primary by now, and the other does not know yet
    assert "1 of 2 replicas have it" in jobs.submit_one(NewJob("noop")).unconfirmed
    monkeypatch.setattr("_jobqueue.store.durability.REPLICAS_KEPT_S", 0)
    assert not jobs.submit_one(NewJob("noop")).unconfirmed


def test_a_primary_without_a_replica_confirms_nothing_and_nobody_waits(front: Front) -> None:
    assert "no replica follows" in durable(front, "replicated").submit_one(NewJob("noop")).unconfirmed
    assert not any({"WAIT", "WAITAOF"} & set(seen) for seen in front.seen)


def test_a_replica_that_has_the_job_confirms_it(pair: tuple[Server, Server]) -> None:
    front = Front(pair[0], "7.0.15")
    jobs = durable(front, "replicated")
    stored = jobs.submit_one(NewJob("noop"))
    assert stored.job and stored.job.durability == "replicated"
    assert pair[1].client.exists(f"jq:{{default}}:job:{stored.job.id}")
    front.close()


@pytest.mark.long(6)
def test_a_repeat_says_honestly_whether_a_replica_has_the_job_by_now(pair: tuple[Server, Server]) -> None:
    front, replica = Front(pair[0], "7.0.15"), pair[1]
    jobs = durable(front, "replicated")
    replica.process.send_signal(signal.SIGSTOP)
    first, again = (jobs.submit_one(NewJob("noop"), key="k") for _ in range(2))
    assert first.unconfirmed and again.unconfirmed and again.replayed
    replica.process.send_signal(signal.SIGCONT)
    last = eventually(lambda: jobs.submit_one(NewJob("noop"), key="k"), equals=lambda stored: not stored.unconfirmed)
    assert first.job and last.job and last.replayed
    assert (last.job.id, last.job.durability) == (first.job.id, "replicated")
    front.close()


# ------------------------------------------------------------------------------------------------------------ HTTP


@pytest.fixture
def system(server: Server, front: Front, request: pytest.FixtureRequest) -> Iterator[System]:
    system = System(server, front.url)
    yield system
    system.close(show_logs=request.session.testsfailed > 0)


def answer(system: System, **headers: str) -> tuple[int, dict[str, Any]]:
    response = system.post("/jobs", {"type": "noop", "payload": 1}, **headers)
    return response.status_code, response.json()


def test_the_answer_says_what_was_confirmed(system: System, front: Front) -> None:
    system.api(DURABILITY="fsync")
    front.aof = (1, 0)
    status, job = answer(system, Idempotency_Key="k")
    assert (status, job["durability"]) == (201, "fsync")
    status, again = answer(system, Idempotency_Key="k")
    assert (status, again["durability"], again["job_id"]) == (200, "fsync", job["job_id"])


def test_what_is_not_confirmed_is_202_with_the_same_id_and_a_sentence(system: System, front: Front) -> None:
    system.api(DURABILITY="fsync")
    status, job = answer(system, Idempotency_Key="k")
    assert (status, job["durability"]) == (202, "fast")
    assert job["warning"].startswith("stored, but not confirmed as fsync")
    status, again = answer(system, Idempotency_Key="k")
    assert (status, again["job_id"]) == (202, job["job_id"])
    assert system.job(job["job_id"])["status"] == "queued"
    front.aof = (1, 0)
    assert answer(system, Idempotency_Key="k")[0] == 200


def test_a_batch_says_it_for_each_job(system: System, front: Front) -> None:
    system.api(DURABILITY="fsync")
    batch = {"jobs": [{"payload": 1}, {"payload": 2}]}
    response = system.post("/jobs/batch", batch)
    assert response.status_code == 202
    assert [(each["status"], each["job"]["durability"]) for each in response.json()["results"]] == [(202, "fast")] * 2
    assert sum("not confirmed as fsync" in text for text in response.json()["warnings"]) == 1
    front.aof = (1, 0)
    response = system.post("/jobs/batch", batch)
    assert response.status_code == 201
    assert [each["job"]["durability"] for each in response.json()["results"]] == ["fsync"] * 2


def test_the_default_says_nothing_of_durability(system: System, front: Front) -> None:
    system.api()
    status, job = answer(system)
    assert status == 201 and "durability" not in job
    assert not any({"WAIT", "WAITAOF"} & set(seen) for seen in front.seen)


def test_a_process_that_can_confirm_nothing_says_so_at_its_start_and_in_its_health(
    system: System, front: Front
) -> None:
    front.version = "7.0.15"
    api = system.api(DURABILITY="fsync")
    api.says("no submit is confirmed as fsync")
    assert any("No submit is confirmed as fsync" in text for text in system.get("/health?verbose").json()["warnings"])


def test_durability_is_fast_fsync_or_replicated() -> None:
    for mode in ("fast", "fsync", "replicated"):
        assert Config.from_environment({"DURABILITY": mode}).durability == mode


# --------------------------------------------------------------------------------------------------------- Cluster


@pytest.mark.long(6)
def test_on_a_cluster_the_job_and_the_number_of_its_queue_are_confirmed_by_a_replica_each() -> None:
    cluster = Cluster(masters=3, replicas=1)
    try:
        jobs = JobQueue(cluster.url, durability="replicated")
        registry = cluster.owner("jq:queues")
        elsewhere = next(queue for queue in cluster.queues() if cluster.owner(queue) is not registry)
        stored = jobs.submit_one(NewJob(queue=elsewhere))
        assert stored.job and stored.job.durability == "replicated"
        for replica in cluster.nodes[3:]:
            replica.process.send_signal(signal.SIGSTOP)
        assert jobs.submit_one(NewJob(queue=elsewhere)).unconfirmed
        replica = cluster.nodes[3 + cluster.masters.index(cluster.owner(elsewhere))]
        replica.process.send_signal(signal.SIGCONT)
        eventually(lambda: jobs.submit_one(NewJob(queue=elsewhere)).unconfirmed, equals="")
        fresh = next(f"{n}" for n in range(200) if cluster.owner(f"{n}") is cluster.owner(elsewhere))
        assert "0 of 1 replicas have it" in jobs.submit_one(NewJob(queue=fresh)).unconfirmed
    finally:
        cluster.close()
