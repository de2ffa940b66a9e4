"""Real workers tell real receivers; every way in which that goes wrong (F74)."""

from __future__ import annotations

import json
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook

from _jobqueue.records import DELIVERY
from _jobqueue.webhooks.signing import PREFIX
from jobqueue import Filter, Job, JobQueue
from tests.harness import System, eventually
from tests.played import passes
from tests.webhooks.certificates import Certificates
from tests.webhooks.receiver import Receiver, endless, reset

SECRETS = [PREFIX + b64encode(bytes([n]) * 32).decode() for n in (1, 2)]
SETTINGS = {"WEBHOOK_SECRETS": ",".join(SECRETS), "WEBHOOK_HTTP": "1"}
HERE = {**SETTINGS, "WEBHOOK_ALLOW": "127.0.0.1"}


@pytest.fixture
def jobs(url: str) -> JobQueue:
    return JobQueue(url, webhooks="http")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def deliveries(jobs: JobQueue) -> list[Job]:
    return jobs.page(Filter(type=DELIVERY), limit=200).jobs


def told(receiver: Receiver, n: int) -> list[dict[str, Any]]:
    """The bodies of n requests, once these have come; each is signed with both secrets."""
    eventually(lambda: len(receiver.requests), equals=lambda found: found >= n)
    bodies = []
    for request in receiver.requests:
        for secret in SECRETS:
            Webhook(secret).verify(request.body, request.headers)
        bodies.append(json.loads(request.body))
    return bodies


def test_end_of_a_job_is_told(system: System, jobs: JobQueue, receiver: Receiver) -> None:
    job = jobs.submit("echo", {"secret": 1}, webhook=receiver.url("/x?y=z"), tags=["t"])
    system.worker(**HERE)
    [body] = told(receiver, 1)
    ended = jobs.get(job.id).as_dict()
    assert receiver.requests[0].line == "POST /x?y=z HTTP/1.1"
    assert (body["type"], body["timestamp"]) == ("job.done", ended["finished_at"])
    del ended["payload"]
    assert body["data"] == ended and body["data"]["result"] == {"secret": 1}
    [delivery] = eventually(lambda: deliveries(jobs), equals=lambda found: found and found[0].status == "done")
    assert receiver.requests[0].headers["webhook-id"] == delivery.id
    assert delivery.result == {"status": 204}


def test_failed_and_cancelled_jobs_are_told_and_a_retry_supersedes(
    system: System, jobs: JobQueue, receiver: Receiver
) -> None:
    failing = jobs.submit("odd.fail", webhook=receiver.url(), max_attempts=1)
    waiting = jobs.submit("echo", webhook=receiver.url(), delay_s=600)
    jobs.cancel(waiting.id)
    lonely = system.worker("--handlers", "tests/webhooks/failing.py", **{**SETTINGS, "WEBHOOK_SECRETS": ""})
    eventually(lambda: jobs.get(failing.id).status, equals="failed")
    jobs.retry(failing.id)
    eventually(lambda: len(deliveries(jobs)), equals=3)
    lonely.stop()
    system.worker("--handlers", "tests/webhooks/failing.py", **HERE)
    bodies = told(receiver, 3)
    found = Counter((body["type"], body["data"].get("superseded", False)) for body in bodies)
    assert found == {("job.failed", True): 1, ("job.failed", False): 1, ("job.cancelled", False): 1}
    [last] = [body["data"] for body in bodies if body["type"] == "job.failed" and "errors" in body["data"]]
    assert "traceback" not in last["errors"][0] and last["error"] == "RuntimeError: it always fails"


def test_long_result_is_left_out(system: System, jobs: JobQueue, receiver: Receiver) -> None:
    fits, long = ("x" * (2**18 - n) for n in (2, 1))
    for text in (fits, long):
        jobs.submit("echo", text, webhook=receiver.url())
    system.worker(**HERE)
    results = [(body["data"]["result"], body["data"].get("truncated")) for body in told(receiver, 2)]
    assert sorted(results, key=str) == sorted([(fits, None), (None, True)], key=str)


def test_deleted_job_is_told_by_id_and_status(system: System, jobs: JobQueue, receiver: Receiver) -> None:
    job = jobs.submit("echo", webhook=receiver.url())
    jobs.cancel(job.id)
    jobs.delete(job.id)
    system.worker(**HERE)
    [body] = told(receiver, 1)
    assert body["data"] == {"job_id": job.id, "status": "cancelled", "finished_at": body["timestamp"]}


# ------------------------------------------------------------------------------------------------------------------ F74

WRONG = {
    "500": b"HTTP/1.1 500 x\r\n\r\n",
    "404": b"HTTP/1.1 404 x\r\n\r\n",
    "301 to a metadata address": b"HTTP/1.1 301 x\r\nLocation: http://169.254.169.254/latest/meta-data/\r\n\r\n",
    "resets": reset,
    "closes": lambda request, sock: sock.close(),
    "no HTTP": b"220 mail.example ESMTP\r\n",
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_goes_wrong_is_tried_again_under_the_same_id(
    wrong: str, system: System, jobs: JobQueue, receiver: Receiver
) -> None:
    receiver.answer = WRONG[wrong]
    jobs.submit("echo", webhook=receiver.url())
    system.worker(**HERE)
    system.reaper()
    [delivery] = eventually(lambda: deliveries(jobs), equals=lambda found: found and found[0].status == "scheduled")
    assert delivery.run_at_ms - int(1000 * time.time()) == pytest.approx(5000, abs=4000)
    receiver.answer = b"HTTP/1.1 200 OK\r\n\r\n"
    jobs.run_now(delivery.id)
    eventually(lambda: jobs.get(delivery.id).status, equals="done")
    assert {request.headers["webhook-id"] for request in receiver.requests} == {delivery.id}
    assert receiver.connections == 2


@pytest.mark.long(11)
@pytest.mark.parametrize("answer", ["endless", "drip"])
def test_endless_answer_is_none(answer: str, system: System, jobs: JobQueue, receiver: Receiver) -> None:
    receiver.answer = {"endless": endless, "drip": receiver.drip}[answer]
    jobs.submit("echo", webhook=receiver.url())
    system.worker(**HERE)
    expected = {"endless": "done", "drip": "scheduled"}[answer]
    eventually(lambda: deliveries(jobs), equals=lambda found: found and found[0].status == expected)


def test_delays_are_those_of_the_standard_and_then_it_is_a_dead_letter(
    system: System, jobs: JobQueue, receiver: Receiver
) -> None:
    receiver.answer = b"HTTP/1.1 500 x\r\n\r\n"
    jobs.submit("echo", webhook=receiver.url())
    system.worker(**HERE)
    [delivery] = eventually(lambda: deliveries(jobs), equals=lambda found: len(found) == 1)
    delays = []
    for attempt in range(1, 11):
        delivery = eventually(partial(jobs.get, delivery.id), equals=lambda job, n=attempt: len(job.errors) == n)
        if delivery.status == "scheduled":
            at_ms = system.server.client.time()[0] * 1000
            delays.append(round((delivery.run_at_ms - at_ms) / 1000))
            jobs.run_now(delivery.id)
    assert delays == pytest.approx([5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400], abs=5)
    assert (delivery.status, len(receiver.requests)) == ("failed", 10)
    assert {request.headers["webhook-id"] for request in receiver.requests} == {delivery.id}
    receiver.answer = b"HTTP/1.1 200 x\r\n\r\n"
    jobs.retry(delivery.id)
    eventually(lambda: jobs.get(delivery.id).status, equals="done")


def test_retry_after_is_obeyed_and_410_ends(system: System, jobs: JobQueue, receiver: Receiver) -> None:
    receiver.answer = b"HTTP/1.1 429 x\r\nRetry-After: 7200\r\n\r\n"
    jobs.submit("echo", webhook=receiver.url())
    system.worker(**HERE)
    [delivery] = eventually(lambda: deliveries(jobs), equals=lambda found: found and found[0].status == "scheduled")
    assert delivery.run_at_ms - int(1000 * time.time()) == pytest.approx(7_200_000, abs=30_000)
    receiver.answer = b"HTTP/1.1 410 Gone\r\n\r\n"
    jobs.run_now(delivery.id)
    delivery = eventually(lambda: jobs.get(delivery.id), equals=lambda job: job.status == "failed")
    assert (delivery.attempts, delivery.errors[-1]["kind"]) == (2, "Fail")


def test_forbidden_addresses_get_no_connection_and_no_second_attempt(
    system: System, jobs: JobQueue, receiver: Receiver
) -> None:
    hosts = ("127.0.0.1", "localhost", "2130706433", "0x7f.1", "017700000001", "[::ffff:127.0.0.1]", "127.1", "0")
    for host in hosts:
        jobs.submit("echo", webhook=receiver.url(host=host))
    jobs.submit("echo", webhook="http://169.254.169.254/latest/meta-data/")
    system.worker(**SETTINGS, http_proxy=receiver.url("/"), HTTP_PROXY=receiver.url("/"))
    found = eventually(
        lambda: deliveries(jobs),
        equals=lambda found: len(found) == 9 and all(job.status in ("failed", "scheduled") for job in found),
    )
    # "scheduled": a form that this system's resolver does not read
    assert all(
        job.status == "failed" and job.attempts == 1 for job in found if "WEBHOOK_ALLOW" in job.errors[0]["message"]
    )
    assert sum("WEBHOOK_ALLOW" in job.errors[0]["message"] for job in found) >= 5
    assert receiver.connections == 0


def test_wrong_certificate_is_tried_again(system: System, jobs: JobQueue, tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    allow = {**HERE, "WEBHOOK_ALLOW": "127.0.0.1, localhost"}
    with Receiver(tls=certificates.server("localhost")) as receiver:
        jobs.submit("echo", webhook=receiver.url(scheme="https", host="localhost"))
        stranger = system.worker(**allow)
        [delivery] = eventually(lambda: deliveries(jobs), equals=lambda found: found and found[0].status == "scheduled")
        assert "certificate" in delivery.errors[0]["message"] and receiver.requests == []
        stranger.stop()
        system.worker(**allow, SSL_CERT_FILE=str(certificates.authority))
        jobs.run_now(delivery.id)
        eventually(lambda: jobs.get(delivery.id).status, equals="done")


def test_worker_that_dies_in_the_middle_is_followed_by_another(
    system: System, jobs: JobQueue, receiver: Receiver
) -> None:
    receiver.answer = receiver.hang
    jobs.submit("echo", webhook=receiver.url())
    dying = system.worker(**HERE)
    told(receiver, 1)
    dying.kill()
    receiver.answer = b"HTTP/1.1 200 OK\r\n\r\n"
    [claimed] = deliveries(jobs)
    passes(system.server, "leases", claimed)
    system.reaper()
    system.worker(**HERE)
    told(receiver, 2)
    eventually(lambda: jobs.get(claimed.id).status, equals="done")
    assert {request.headers["webhook-id"] for request in receiver.requests} == {claimed.id}


def test_stopping_worker_gives_back_what_it_tells(system: System, jobs: JobQueue, receiver: Receiver) -> None:
    receiver.answer = receiver.hang
    jobs.submit("echo", webhook=receiver.url())
    worker = system.worker("--drain", "0", **HERE)
    told(receiver, 1)
    assert worker.stop() == 0
    [delivery] = deliveries(jobs)
    assert (delivery.status, delivery.errors[0]["kind"]) == ("queued", "interrupted")


def test_hanging_host_takes_two_threads_and_leaves_the_rest(system: System, jobs: JobQueue, receiver: Receiver) -> None:
    """Of 16 threads 4 may deliver, 2 of them to one host; jobs and other hosts go on."""
    receiver.answer = receiver.hang
    with Receiver() as other:
        for _ in range(6):
            jobs.submit("echo", webhook=receiver.url())
        system.worker("--threads", "16", **HERE)
        eventually(lambda: len(receiver.requests), equals=2)
        plain = [jobs.submit("echo") for _ in range(20)]
        told_too = [jobs.submit("echo", webhook=other.url()) for _ in range(5)]
        eventually(lambda: {jobs.get(job.id).status for job in (*plain, *told_too)}, equals={"done"})
        told(other, 5)
        assert receiver.connections == 2


def test_no_more_threads_deliver_than_may(system: System, jobs: JobQueue) -> None:
    """Four hosts hang, two calls each could be made: of 8 threads 2 deliver."""
    receivers = [Receiver() for _ in range(4)]
    for receiver in receivers:
        receiver.answer = receiver.hang
        jobs.submit("echo", webhook=receiver.url())
    system.worker("--threads", "8", **HERE)
    eventually(lambda: sum(receiver.connections for receiver in receivers), equals=2)
    plain = [jobs.submit("echo") for _ in range(50)]
    eventually(lambda: {jobs.get(job.id).status for job in plain}, equals={"done"})
    assert sum(receiver.connections for receiver in receivers) == 2
    for receiver in receivers:
        receiver.__exit__()


def test_paused_queue_goes_on_telling(system: System, jobs: JobQueue, receiver: Receiver) -> None:
    job = jobs.submit("echo", webhook=receiver.url(), delay_s=600)
    system.worker(**HERE)
    jobs.pause("default")
    jobs.submit("echo")
    jobs.cancel(job.id)
    told(receiver, 1)
    eventually(lambda: [each.status for each in deliveries(jobs)], equals=["done"])
    assert jobs.books("default").sizes["queued"] == 1


def test_burst_ends_when_all_is_told(system: System, jobs: JobQueue, receiver: Receiver) -> None:
    for _ in range(20):
        jobs.submit("echo", webhook=receiver.url())
    worker = system.worker("--burst", **HERE)
    assert worker.exits() == 0
    assert {job.status for job in deliveries(jobs)} == {"done"} and len(receiver.requests) == 20


def test_own_handler_of_the_type_is_refused(system: System, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(f"from jobqueue import handler\n@handler('{DELIVERY}')\ndef f(p, c): pass\n")
    worker = system.start("worker.py", "--handlers", str(tmp_path / "mine.py"))
    assert worker.exits() == 2 and "reserved" in worker.log
