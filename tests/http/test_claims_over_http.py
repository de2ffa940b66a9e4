"""Workers that speak HTTP: what they claim is theirs as it is any worker's, however often they ask and whatever they do."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
import requests

from jobqueue import JobQueue
from tests.answers import invalid, refused
from tests.harness import System, eventually
from tests.played import Worker

Q = "jq:{default}:"


class Client:
    """A worker that speaks HTTP."""

    def __init__(self, system: System, name: str = "w", types: tuple[str, ...] = ("echo",)) -> None:
        self.system, self.name, self.types = system, name, types

    def ask(self, queue: str = "default", **more: Any) -> requests.Response:
        return self.system.post(f"/queues/{queue}/claim", {"worker": self.name, "types": self.types, **more})

    def claim(self, **more: Any) -> list[dict[str, Any]]:
        answer = self.ask(**more)
        assert answer.status_code in (200, 204), answer.text
        return list(answer.json()["jobs"]) if answer.status_code == 200 else []

    def one(self, **more: Any) -> dict[str, Any]:
        (job,) = self.claim(**more)
        return job

    def says(self, verb: str, job: dict[str, Any], **more: Any) -> requests.Response:
        return self.system.post(f"/jobs/{job['job_id']}/{verb}", {"token": job["token"], **more})


@pytest.fixture
def client(system: System, jobs: JobQueue) -> Client:
    return Client(system)


@pytest.fixture
def at_once() -> Iterator[Callable[..., Future[Any]]]:
    with ThreadPoolExecutor(40) as pool:
        yield pool.submit


def expire(system: System, job: dict[str, Any]) -> None:
    system.server.client.zadd(f"{Q}leases", {job["job_id"]: 1})


# ------------------------------------------------------------------------------------------------------------- claim


def test_a_job_is_claimed_and_finished(system: System, client: Client) -> None:
    job_id = system.submit({"n": 1}, timeout_s=60)
    job = client.one(lease_s=30)
    assert list(job)[:2] == ["job_id", "token"]
    assert (job["job_id"], job["type"], job["payload"]) == (job_id, "echo", {"n": 1})
    assert (job["attempt"], job["timeout_s"]) == (1, 60)
    assert system.job(job_id)["worker"] == "w"
    done = client.says("finish", job, result={"width": 120})
    assert done.status_code == 200
    assert (done.json()["status"], done.json()["result"]) == ("done", {"width": 120})
    assert system.server.client.hgetall(f"{Q}slots") == {}


def test_a_job_of_a_trace_brings_that_along(system: System, client: Client) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    answer = system.post("/jobs", {"payload": 1}, traceparent=trace, tracestate="a=b")
    assert answer.status_code == 201
    job = client.one()
    assert (job["traceparent"], job["tracestate"], job["payload"]) == (trace, "a=b", 1)


def test_nothing_to_do_is_204(client: Client) -> None:
    answer = client.ask()
    assert (answer.status_code, answer.content) == (204, b"")


def test_only_types_that_it_names_are_given(system: System, client: Client) -> None:
    other = system.submit(type="noop")
    assert client.claim() == []
    mine = system.submit()
    assert client.one()["job_id"] == mine
    assert system.job(other)["attempts"] == 0 and system.job(other)["status"] == "queued"
    assert Client(system, "other", ("noop", "echo")).one()["job_id"] == other


def test_the_best_come_first_and_no_more_than_asked(system: System, client: Client) -> None:
    low, first, second, high = (system.submit(priority=p) for p in (1, 5, 5, 9))
    assert [job["job_id"] for job in client.claim(max=3)] == [high, first, second]
    assert [job["job_id"] for job in client.claim(max=3)] == [low]


def test_the_same_seq_gives_the_same_jobs_and_a_lower_one_none(system: System, client: Client) -> None:
    ids = [system.submit(n) for n in range(4)]
    first = client.claim(seq=5, max=2)
    assert [job["job_id"] for job in first] == ids[:2]
    assert client.claim(seq=5, max=2) == first
    second = client.claim(seq=6)
    assert [job["job_id"] for job in second] == ids[2:3]
    refused(client.ask(seq=5), 409, "seq_used")
    assert system.job(ids[0])["attempts"] == 1
    for job in (*first, *second):
        assert client.says("finish", job, result=None).status_code == 200
    assert client.claim(seq=6) == [], "a copy of the claim may come late"
    assert system.job(ids[3])["status"] == "queued"


def test_a_claim_that_found_nothing_may_be_repeated(system: System, client: Client) -> None:
    assert client.claim(seq=1) == []
    job_id = system.submit()
    assert client.one(seq=1)["job_id"] == job_id


def test_what_is_left_of_a_claim_is_given_again(system: System, client: Client) -> None:
    system.submit(1), system.submit(2)
    first, second = client.claim(seq=1, max=2)
    client.says("finish", first, result=1)
    assert client.claim(seq=1, max=2) == [second]


def test_without_seq_every_claim_is_another(system: System, client: Client) -> None:
    ids = {system.submit(n) for n in range(3)}
    assert {client.one()["job_id"] for _ in range(3)} == ids
    assert client.claim() == []


def test_two_workers_of_one_name_end_a_job_once(system: System, client: Client) -> None:
    system.submit()
    job, same = client.one(seq=1), Client(system).one(seq=1)
    assert same == job
    assert client.says("finish", job, result=1).json()["result"] == 1
    assert client.says("finish", same, result=2).json()["result"] == 1
    assert system.server.client.hget(f"{Q}totals", "done") == "1"


def test_the_name_of_a_worker_of_another_sort_is_taken(system: System, client: Client, hand: Worker) -> None:
    hand.beat()
    refused(Client(system, hand.name).ask(seq=1), 409, "name_taken")


@pytest.mark.parametrize(
    "body, pointer",
    [
        ({}, "/worker"),
        ({"worker": "a b"}, "/worker"),
        ({"worker": 1}, "/worker"),
        ({"seq": -1}, "/seq"),
        ({"seq": None}, "/seq"),
        ({"seq": 1.5}, "/seq"),
        ({"seq": True}, "/seq"),
        ({"seq": 2**53}, "/seq"),
        ({"types": []}, "/types"),
        ({"types": "echo"}, "/types"),
        ({"types": [f"t{n}" for n in range(201)]}, "/types"),
        ({"types": ["a", "a"]}, "/types/1"),
        ({"types": ["a b"]}, "/types/0"),
        ({"types": ["jobqueue.webhook"]}, "/types/0"),
        ({"max": 0}, "/max"),
        ({"max": 11}, "/max"),
        ({"wait_s": 20.1}, "/wait_s"),
        ({"wait_s": "1"}, "/wait_s"),
        ({"lease_s": 0.9}, "/lease_s"),
        ({"lease_s": 3601}, "/lease_s"),
        ({"extra": 1}, "/extra"),
    ],
    ids=str,
)
def test_a_wrong_claim_names_the_field(api: System, body: dict[str, Any], pointer: str) -> None:
    good = {"worker": "w", "types": ["echo"]} if body else {"types": ["echo"]}
    assert invalid(api.post("/queues/default/claim", good | body)) == [pointer]


# -------------------------------------------------------------------------------------------------------- the lease


def test_an_extended_job_is_kept_and_a_lost_one_is_not(system: System, client: Client) -> None:
    system.reaper()
    job_id = system.submit(timeout_s=60)
    job = client.one(lease_s=1)
    said = client.says("extend", job, progress=0.5, log=["one", "two"]).json()
    assert said["lease_until"] > job["lease_until"] and said["cancel"] is False
    client.says("extend", job, progress={"fraction": 0.75, "note": "soon"}, log="three")
    shown = system.job(job_id)
    assert (shown["progress"], shown["log"]) == ({"fraction": 0.75, "note": "soon"}, ["one", "two", "three"])
    eventually(lambda: system.job(job_id)["status"], equals="queued")
    for verb, more in (("extend", {}), ("finish", {"result": 1}), ("release", {})):
        refused(client.says(verb, job, **more), 409, "lease_lost")
    again = client.one()
    assert again["attempt"] == 2 and again["token"] != job["token"]
    refused(client.says("finish", job, result="late"), 409, "lease_lost")
    assert client.says("finish", again, result="in time").json()["result"] == "in time"


def test_a_lease_ends_with_the_timeout(system: System, client: Client) -> None:
    system.submit(timeout_s=5)
    job = client.one(lease_s=600)
    taken = system.job(job["job_id"])
    until = system.server.client.zscore(f"{Q}leases", job["job_id"])
    started = int(system.server.client.hget(f"{Q}job:{job['job_id']}", "started"))
    assert until - started == 6000  # with a second of grace
    assert taken["timeout_s"] == 5
    assert client.says("extend", job).json()["lease_until"] == job["lease_until"]


@pytest.mark.long(4)
def test_a_long_silence_within_its_lease_is_no_death(system: System, client: Client, queue: JobQueue) -> None:
    system.reaper()
    job_id = system.submit(timeout_s=600)
    short = system.submit(timeout_s=600)
    other = client.one(lease_s=1, seq=1)
    assert other["job_id"] == job_id
    client.says("finish", other, result=1)
    job = client.one(lease_s=300, seq=2)
    assert job["job_id"] == short
    began = time.monotonic()
    eventually(
        lambda: time.monotonic() - began > 4
    )  # a reaper believes a beat for its lease, and looks five times a second
    assert system.job(short)["status"] == "processing"


def test_a_reaper_of_a_name_that_is_the_beginning_of_another_leaves_that_alone(system: System, jobs: JobQueue) -> None:
    system.submit(1, timeout_s=600), system.submit(2, timeout_s=600)
    for name in ("a", "a-b"):
        Client(system, name).one(seq=1, lease_s=300)
    assert jobs.recovery.slots("default", "a") == ["a-1"]
    assert jobs.recovery.slots("default", "a-b") == ["a-b-1"]


def test_a_released_job_is_as_it_was(system: System, client: Client) -> None:
    first, second = system.submit(1), system.submit(2)
    job = client.one()
    back = client.says("release", job).json()
    assert (back["status"], back["attempts"], back["position"]) == ("queued", 0, 1)
    assert [each["job_id"] for each in client.claim(max=2)] == [first, second]


def test_an_error_is_an_attempt(system: System, client: Client) -> None:
    job_id = system.submit(max_attempts=3, backoff_s=0)
    error = {"kind": "Boom", "message": "it went wrong"}
    failed = client.says("finish", client.one(), error=error).json()
    assert failed["status"] == "scheduled" and failed["errors"][0]["kind"] == "Boom"
    assert failed["errors"][0]["worker"] == "w"
    system.reaper()  # only now: it promotes a job without a backoff at once
    eventually(lambda: system.job(job_id)["status"], equals="queued")
    later = client.says("finish", client.one(), error=error, after_s=3600).json()
    assert later["run_at"] > later["errors"][-1]["at"]
    system.post(f"/jobs/{job_id}/run")
    dead = client.says("finish", client.one(), error=error, retry=False).json()
    assert dead["status"] == "failed" and len(dead["errors"]) == 3


def test_without_a_retry_it_is_a_dead_letter_at_once(system: System, client: Client) -> None:
    system.submit(max_attempts=5)
    error = {"kind": "Fail", "message": "never"}
    assert client.says("finish", client.one(), error=error, retry=False).json()["status"] == "failed"


@pytest.mark.parametrize(
    "verb, body, pointer",
    [
        ("finish", {"result": 1, "error": {"kind": "a", "message": "b"}}, ""),
        ("finish", {}, ""),
        ("finish", {"error": "no"}, "/error"),
        ("finish", {"error": {"kind": "a b", "message": ""}}, "/error/kind"),
        ("finish", {"error": {"kind": "a", "message": 1}}, "/error/message"),
        ("finish", {"result": 1, "retry": False}, "/retry"),
        ("finish", {"result": 1, "after_s": 1}, "/after_s"),
        ("finish", {"error": {"kind": "a", "message": ""}, "after_s": -1}, "/after_s"),
        ("finish", {"error": {"kind": "a", "message": ""}, "after_s": 1, "retry": False}, "/after_s"),
        ("extend", {"progress": 1.1}, "/progress"),
        ("extend", {"progress": None}, "/progress"),
        ("extend", {"progress": {"note": "a"}}, "/progress"),
        ("extend", {"log": [1]}, "/log"),
        ("extend", {"token": ""}, "/token"),
        ("release", {"token": 1}, "/token"),
        ("release", {"more": 1}, "/more"),
    ],
    ids=str,
)
def test_a_wrong_settlement_changes_nothing(
    system: System, client: Client, verb: str, body: dict[str, Any], pointer: str
) -> None:
    job_id = system.submit()
    job = client.one()
    assert invalid(client.says(verb, job, **body)) == [pointer]
    assert system.job(job_id)["status"] == "processing"


def test_what_is_no_job_is_404(system: System, client: Client) -> None:
    for verb, more in (("extend", {}), ("finish", {"result": 1}), ("release", {})):
        refused(client.says(verb, {"job_id": "x", "token": "t"}, **more), 404, "job_not_found")


def test_a_result_above_the_limit_is_refused_and_the_job_kept(system: System) -> None:
    system.api(MAX_RESULT_BYTES="100")
    client, job_id = Client(system), system.submit()
    job = client.one()
    assert invalid(client.says("finish", job, result="x" * 100)) == ["/result"]
    assert client.says("finish", job, result="x" * 98).status_code == 200
    assert system.job(job_id)["status"] == "done"


def test_a_cancelled_job_tells_its_worker(system: System, client: Client) -> None:
    job_id = system.submit()
    job = client.one()
    assert system.post(f"/jobs/{job_id}/cancel").status_code == 202
    assert client.says("extend", job).json()["cancel"] is True
    assert client.says("release", job).json()["status"] == "cancelled"


def test_a_job_that_is_stopped_now_is_taken_from_its_worker(system: System, client: Client) -> None:
    system.reaper()
    job_id = system.submit(timeout_s=600)
    job = client.one(lease_s=600)
    assert system.post(f"/jobs/{job_id}/cancel", {"force": True}).status_code == 202
    system.ends(job_id, "cancelled", within_s=10)
    refused(client.says("finish", job, result=1), 409, "lease_lost")


# -------------------------------------------------------------------------------------------------- those that wait


def test_a_claim_that_waits_gets_the_next_job(
    system: System, client: Client, at_once: Callable[..., Future[Any]]
) -> None:
    answer = at_once(client.one, wait_s=20)
    eventually(lambda: system.server.client.exists(f"{Q}remote:w"), equals=1)
    began = time.monotonic()
    job_id = system.submit()
    assert answer.result(30)["job_id"] == job_id
    assert time.monotonic() - began < 5


def test_a_claim_that_waits_in_vain_is_204(client: Client) -> None:
    began = time.monotonic()
    assert client.claim(wait_s=0.4) == []
    assert 0.3 < time.monotonic() - began < 10


def test_thirty_claims_wait_and_each_job_is_given_once(
    system: System, client: Client, at_once: Callable[..., Future[Any]]
) -> None:
    workers = [Client(system, f"w{n}", ("echo", f"other{n % 3}")) for n in range(30)]
    answers = [at_once(worker.one, wait_s=20, seq=1) for worker in workers]
    eventually(lambda: system.server.client.zcard(f"{Q}workers"), equals=30)
    ids = {system.submit(n) for n in range(30)}
    assert {answer.result(30)["job_id"] for answer in answers} == ids


def test_a_job_that_nobody_who_waits_may_take_wakes_nobody(
    system: System, client: Client, at_once: Callable[..., Future[Any]]
) -> None:
    answer = at_once(client.claim, wait_s=3)
    eventually(lambda: system.server.client.exists(f"{Q}remote:w"), equals=1)
    system.submit(type="noop")
    before = system.server.client.info("stats")["total_commands_processed"]
    assert answer.result(30) == []
    assert system.server.client.info("stats")["total_commands_processed"] - before < 400


def test_whoever_hangs_up_while_waiting_is_given_nothing(system: System, client: Client) -> None:
    body = b'{"worker":"gone","types":["echo"],"wait_s":20}'
    head = b"POST /queues/default/claim HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    with socket.create_connection(("127.0.0.1", int(system.api_url.rpartition(":")[2]))) as sock:
        sock.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        eventually(lambda: system.server.client.exists(f"{Q}remote:gone"), equals=1)
    job_id = system.submit()
    job = client.one(wait_s=20)
    assert (job["job_id"], job["attempt"]) == (job_id, 1)


def test_a_stopping_api_answers_claims_that_wait(system: System, at_once: Callable[..., Future[Any]]) -> None:
    program = system.api()
    answers = [at_once(Client(system, f"w{n}").claim, wait_s=20) for n in range(5)]
    eventually(lambda: system.server.client.zcard(f"{Q}workers"), equals=5)
    began = time.monotonic()
    assert program.stop() == 0
    assert [answer.result(30) for answer in answers] == [[]] * 5
    assert time.monotonic() - began < 8


def test_claims_and_reads_that_wait_share_the_room(system: System, at_once: Callable[..., Future[Any]]) -> None:
    system.api(API_WAITERS="2")
    job_id = system.submit(type="noop")
    read = at_once(system.get, f"/jobs/{job_id}?wait_s=20")
    claims = [at_once(Client(system, f"w{n}").claim, wait_s=20) for n in range(2)]
    eventually(lambda: sum(each.done() for each in (read, *claims)), equals=1)
    system.post(f"/jobs/{job_id}/cancel")
    for n in range(2):
        system.submit(n)
    assert read.result(30).status_code == 200
    assert all(claim.result(30) is not None for claim in claims)


@pytest.mark.long(5)
def test_of_100_claims_that_wait_redis_hears_little(system: System, at_once: Callable[..., Future[Any]]) -> None:
    system.api(API_WAITERS="128")
    with ThreadPoolExecutor(100) as pool:
        answers = [pool.submit(Client(system, f"w{n}").claim, wait_s=6) for n in range(100)]
        eventually(lambda: system.server.client.zcard(f"{Q}workers"), equals=100)
        client = system.server.client
        before, began = client.info("commandstats")["cmdstat_evalsha"]["calls"], time.monotonic()
        eventually(lambda: time.monotonic() - began > 2)
        heard = client.info("commandstats")["cmdstat_evalsha"]["calls"] - before
        assert heard / (time.monotonic() - began) < 30
        assert all(answer.result(30) == [] for answer in answers)


# ------------------------------------------------------------------------------------------------- how they are seen


def test_it_is_seen_while_it_works_and_forgotten_when_it_has_left(
    system: System, client: Client, queue: JobQueue
) -> None:
    job_id = system.submit(timeout_s=600)
    job = client.one(lease_s=120)
    (row,) = system.get("/workers").json()["workers"]
    assert (row["worker"], row["http"], row["lost"], row["threads"], row["types"]) == ("w", True, False, 1, ["echo"])
    assert [run["job_id"] for run in row["running"]] == [job_id] and row["running"][0]["for_s"] >= 0
    codes = {found["code"] for found in system.get("/stats").json()["health"]}
    assert not codes & {"no_worker", "worker_lost", "leases_differ"}
    move_beat(system, 60_000)  # silent for a minute of its two
    assert system.get("/workers").json()["workers"][0]["lost"] is False
    move_beat(system, 90_000)
    lost = [found for found in system.get("/stats").json()["health"] if found["code"] == "worker_lost"]
    assert len(lost) == 1 and "over HTTP from 127.0.0.1" in lost[0]["text"]
    client.says("finish", job, result=1)
    assert system.get("/workers").json()["workers"][0]["running"] == []
    move_beat(system, 20_000)
    assert system.get("/workers").json()["workers"] == []
    assert not [found for found in system.get("/stats").json()["health"] if found["code"] == "worker_lost"]


def move_beat(system: System, ms: int) -> None:
    system.server.client.zincrby(f"{Q}workers", -ms, "w")


def test_its_attempts_are_counted_for_their_type(system: System, client: Client) -> None:
    for n in range(3):
        system.submit(n, backoff_s=0)
    first, second, third = client.claim(max=3)
    client.says("finish", first, result=1)
    client.says("finish", first, result=1)
    client.says("finish", second, error={"kind": "Boom", "message": ""})
    client.says("release", third)
    row = next(each for each in system.get("/stats").json()["types"] if each["type"] == "echo")
    assert (row["done_per_minute"], row["failed_per_minute"], row["handled"]) == (1, 1, True)
    assert row["run_p95_ms"] is not None and row["wait_p95_ms"] is not None


def test_it_holds_a_bounded_number_of_jobs(system: System, client: Client, queue: JobQueue) -> None:
    system.post("/jobs/batch", {"jobs": [{"payload": n} for n in range(230)]})
    held = [client.claim(max=10) for _ in range(20)]
    assert sum(map(len, held)) == 200
    refused(client.ask(max=10), 409, "too_many_held")
    client.says("release", held[0][0])
    assert len(client.claim(max=10)) == 10


def test_there_is_room_for_a_bounded_number_of_sets_of_types(system: System, client: Client) -> None:
    system.server.client.zadd(f"{Q}kits", {f"kit{n}": time.time() * 1000 for n in range(500)})
    assert invalid(client.ask()) == ["/types"]


def test_a_worker_of_python_beside_it_keeps_what_it_says_of_its_types(system: System, client: Client) -> None:
    system.worker("--handlers", "tests.faults.ledger", LEDGER="/dev/null")
    eventually(lambda: system.server.client.hexists(f"{Q}backoffs", "noted"))
    published = system.server.client.hgetall(f"{Q}types"), system.server.client.hgetall(f"{Q}backoffs")
    assert Client(system, "other", ("noted", "echo")).claim() == []
    types, backoffs = system.server.client.hgetall(f"{Q}types"), system.server.client.hgetall(f"{Q}backoffs")
    assert (types, backoffs) == (published[0] | {"echo": "2 10000 1000"}, published[1])
