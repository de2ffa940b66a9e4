"""Requests that wait for a job: they hold no thread, Redis is asked for all of them at once, and each is answered in time."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
import requests

from _jobqueue.web.waiting import KEPT, Asleep, Waiters
from jobqueue import JobQueue
from tests.answers import refused
from tests.harness import System, eventually
from tests.played import Worker


class Request:
    """One that sleeps whenever it is served, until it may not."""

    def __init__(self, waiters: Waiters[str], key: str, wait_s: float = 30.0) -> None:
        self.waiters, self.key, self.wait_s, self.served = waiters, key, wait_s, 0
        self.environ: dict[str, Any] = {KEPT: {}}
        self.answered = threading.Event()

    def serve(self) -> None:
        self.served += 1
        try:
            self.waiters.sleep(self.environ, self.key, self.wait_s)
        except Asleep as asleep:
            asleep.sleeper.then(self.serve)
        else:
            self.answered.set()


class Happenings:
    def __init__(self) -> None:
        self.asked: list[tuple[set[str], bool]] = []
        self.over: set[str] = set()
        self.error: Exception | None = None

    def __call__(self, keys: Collection[str], anew: bool) -> set[str]:
        self.asked.append((set(keys), anew))
        if self.error:
            raise self.error
        return self.over & set(keys)


@pytest.fixture
def happenings() -> Happenings:
    return Happenings()


@pytest.fixture
def waiters(happenings: Happenings) -> Iterator[Waiters[str]]:
    made = Waiters(happenings, most=3)
    yield made
    made.stop()


def test_a_request_is_served_anew_when_what_it_waits_for_has_happened(
    waiters: Waiters[str], happenings: Happenings
) -> None:
    one, other = Request(waiters, "a"), Request(waiters, "b")
    one.serve(), other.serve()
    eventually(lambda: len(happenings.asked) > 2)
    assert one.served == other.served == 1
    happenings.over = {"a"}
    eventually(lambda: one.served > 1)
    assert other.served == 1


def test_all_that_is_waited_for_is_asked_for_at_once_twenty_times_a_second(
    waiters: Waiters[str], happenings: Happenings
) -> None:
    for key in "abc":
        Request(waiters, key).serve()
    eventually(lambda: happenings.asked and happenings.asked[-1] == ({"a", "b", "c"}, False))
    before, began = len(happenings.asked), time.monotonic()
    eventually(lambda: time.monotonic() - began > 1)
    assert len(happenings.asked) - before <= 21
    assert sum(anew for _, anew in happenings.asked) <= 3


def test_nobody_is_asked_while_nobody_waits(waiters: Waiters[str], happenings: Happenings) -> None:
    request = Request(waiters, "a", wait_s=0.1)
    request.serve()
    assert request.answered.wait(10)
    before, began = len(happenings.asked), time.monotonic()
    eventually(lambda: time.monotonic() - began > 0.3)
    assert len(happenings.asked) <= before + 1


def test_its_time_counts_from_when_it_came(waiters: Waiters[str], happenings: Happenings) -> None:
    request, began = Request(waiters, "a", wait_s=0.4), time.monotonic()
    happenings.over = {"a"}
    request.serve()
    assert request.answered.wait(10)
    assert request.served > 2 and 0.4 <= time.monotonic() - began < 5


def test_one_more_than_may_wait_is_answered_at_once(waiters: Waiters[str]) -> None:
    requests_made = [Request(waiters, key) for key in "abcd"]
    for request in requests_made:
        request.serve()
    assert [request.answered.is_set() for request in requests_made] == [False, False, False, True]


def test_when_nothing_can_be_found_out_all_are_served_anew(waiters: Waiters[str], happenings: Happenings) -> None:
    request = Request(waiters, "a")
    happenings.error = RuntimeError("as it may be")
    request.serve()
    eventually(lambda: request.served > 2)
    assert not request.answered.is_set()


def test_at_the_end_all_are_answered_and_nobody_sleeps_any_more(waiters: Waiters[str]) -> None:
    before, after = [Request(waiters, key) for key in "ab"], Request(waiters, "c")
    for request in before:
        request.serve()
    waiters.stop()
    after.serve()
    assert all(request.answered.is_set() for request in (*before, after))


def test_one_that_is_woken_before_it_has_fallen_asleep_is_served_anew(waiters: Waiters[str]) -> None:
    with pytest.raises(Asleep) as asleep:
        waiters.sleep({KEPT: {}}, "a", 30)
    waiters.stop()
    served = threading.Event()
    asleep.value.sleeper.then(served.set)
    assert served.is_set()


def test_where_a_request_cannot_be_served_twice_nobody_sleeps(waiters: Waiters[str]) -> None:
    waiters.sleep({}, "a", 30)


# ------------------------------------------------------------------------------------------- by a real API, on a Redis

Ask = Callable[..., "Future[requests.Response]"]


@pytest.fixture
def ask(system: System) -> Iterator[Ask]:
    with ThreadPoolExecutor(140) as pool:
        yield lambda job_id, wait_s=20: pool.submit(
            requests.get, f"{system.api_url}/jobs/{job_id}?wait_s={wait_s}", timeout=60
        )


def all_wait(system: System, number: int) -> None:
    """Each has been read: a watcher's script has its id."""
    program = system.programs[0]
    assert program.process.poll() is None
    client = system.server.client
    with client.monitor() as monitor:
        for command in monitor.listen():
            if (
                command["command"].startswith("EVALSHA")
                and sum(len(part) == 36 for part in command["command"].split()) >= number
            ):
                return


def test_every_end_wakes_who_waits_for_it(system: System, queue: JobQueue, ask: Ask) -> None:
    system.api()
    hand = Worker(queue)
    done, failed, cancelled, deleted = (queue.submit().id for _ in range(4))
    elsewhere = queue.submit(queue="other").id
    answers = {job_id: ask(job_id) for job_id in (done, failed, cancelled, deleted, elsewhere)}
    all_wait(system, 5)
    began = time.monotonic()
    first, second = hand.claim(2)
    hand.end("done", first)
    hand.end("failed", second)
    queue.cancel(cancelled), queue.delete(deleted), queue.cancel(elsewhere)
    found = {job_id: answer.result(30) for job_id, answer in answers.items()}
    refused(found.pop(deleted), 404, "job_not_found")
    assert [found[job_id].json()["status"] for job_id in (done, cancelled, elsewhere)] == [
        "done",
        "cancelled",
        "cancelled",
    ]
    assert time.monotonic() - began < 10


def test_of_128_that_wait_redis_hears_less_than_fifty_times_a_second(system: System, ask: Ask) -> None:
    system.api()
    jobs = system.post("/jobs/batch", {"jobs": [{"payload": n} for n in range(128)]}).json()["results"]
    answers = [ask(each["job"]["job_id"]) for each in jobs]
    all_wait(system, 128)
    client = system.server.client
    before, began = client.info("stats")["total_commands_processed"], time.monotonic()
    eventually(lambda: time.monotonic() - began > 2)
    took = time.monotonic() - began
    heard = client.info("stats")["total_commands_processed"] - before
    assert heard / took < 50
    one_more = ask(system.submit()).result(30)
    assert one_more.json()["status"] == "queued" and not any(answer.done() for answer in answers)
    assert system.programs[0].stop() == 0
    assert {answer.result(30).json()["status"] for answer in answers} == {"queued"}


def test_a_stopping_api_answers_those_that_wait_at_once(system: System, ask: Ask) -> None:
    program = system.api(API_THREADS="2")
    answers = [ask(system.submit(n)) for n in range(5)]
    all_wait(system, 5)
    began = time.monotonic()
    program.signal(signal.SIGTERM)
    assert [answer.result(30).json()["status"] for answer in answers] == ["queued"] * 5
    assert program.exits() == 0 and time.monotonic() - began < 4


def test_when_redis_leaves_those_that_wait_hear_of_it(own_system: System) -> None:
    own_system.api()
    job_id = own_system.submit()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(own_system.get, f"/jobs/{job_id}?wait_s=20")
        all_wait(own_system, 1)
        own_system.server.kill()
        refused(answer.result(30), 503, "redis_unavailable")
