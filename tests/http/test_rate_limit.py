"""How often a client may call, and who counts as one client."""

from __future__ import annotations

import http.client
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address

import pytest

from _jobqueue.config import Config
from _jobqueue.web.security import Gate, client_of
from jobqueue import JobQueue, Unavailable
from tests.answers import refused
from tests.harness import System
from tests.http.locks import BODY, JOB, JSON, KEYS, NOBODY, ask, bearer, environ, post
from tests.http.talking import POST, head, say, stored


def flood(urls: list[str], clients: int, each: int) -> list[int]:
    """The statuses that so many clients, all at once, get for so many POSTs each."""
    gate = threading.Barrier(clients)

    def client(n: int) -> list[int]:
        connection = http.client.HTTPConnection(urls[n % len(urls)].removeprefix("http://"), timeout=60)
        connection.connect()
        gate.wait(60)
        found = [post(connection).status for _ in range(each)]
        connection.close()
        return found

    with ThreadPoolExecutor(clients) as threads:
        return [status for found in threads.map(client, range(clients)) for status in found]


@pytest.mark.long(2)
@pytest.mark.parametrize("processes", [1, 2])
def test_of_a_thousand_requests_at_once_exactly_the_limit_is_taken(system: System, processes: int) -> None:
    urls = []
    for _ in range(processes):
        system.api(RATE_LIMIT_MAX="100", RATE_LIMIT_WINDOW_S="3600")
        urls.append(system.api_url)
    found = flood(urls, clients=100, each=10)
    assert (found.count(201), found.count(429)) == (100, 900)
    assert stored(system) == 100 and system.server.client.llen("jq:rate:127.0.0.1") == 100


def test_the_answers_tell_how_often_one_may_still_call(system: System) -> None:
    system.api(RATE_LIMIT_MAX="2")
    first, second, third = (system.post("/jobs", JOB) for _ in range(3))
    assert [answer.status_code for answer in (first, second, third)] == [201, 201, 429]
    assert {answer.headers["RateLimit-Policy"] for answer in (first, second, third)} == {'"default";q=2;w=60'}
    assert first.headers["RateLimit"] == '"default";r=1;t=0'
    left = re.fullmatch(r'"default";r=0;t=(\d+)', third.headers["RateLimit"])
    assert left and 30 < int(left[1]) <= 60 and third.headers["Retry-After"] == left[1]
    assert "Retry-After" not in second.headers
    assert "2 requests in 60 s" in refused(third, 429, "too_many_requests")["detail"]


def test_the_window_slides_request_by_request(system: System) -> None:
    """Time passes by moving what was counted into the past."""

    def passes(s: int, first: int) -> None:
        for at in range(first):
            redis.lset(key, at, int(redis.lindex(key, at)) - s * 1000)

    redis, key = system.server.client, "jq:rate:127.0.0.1"
    system.api(RATE_LIMIT_MAX="3")
    assert [system.post("/jobs", JOB).status_code for _ in range(4)] == [201, 201, 201, 429]
    passes(40, first=3)
    assert int(system.post("/jobs", JOB).headers["Retry-After"]) <= 20
    passes(20, first=1)
    assert [system.post("/jobs", JOB).status_code for _ in range(2)] == [201, 429]
    passes(20, first=2)
    assert [system.post("/jobs", JOB).status_code for _ in range(3)] == [201, 201, 429]
    assert redis.llen(key) == 3 and 0 < redis.pttl(key) <= 60_000


def test_a_lower_limit_counts_what_was_taken_before(system: System) -> None:
    jobs, redis = JobQueue(system.server.url), system.server.client
    assert [jobs.admit("me", 5, 60_000)[:2] for _ in range(5)] == [(True, left) for left in (4, 3, 2, 1, 0)]
    for at in range(5):  # they leave the window in 10, 20 ... seconds
        redis.lset("jq:rate:me", at, int(redis.lindex("jq:rate:me", at)) - 50_000 + at * 10_000)
    within, left, room_ms = jobs.admit("me", 2, 60_000)
    assert (within, left) == (False, 0) and 30_000 < room_ms <= 40_000
    assert jobs.admit("me", 9, 60_000)[:2] == (True, 3)


def test_only_what_is_posted_is_counted(system: System) -> None:
    system.api(RATE_LIMIT_MAX="1")
    for method, path in (("GET", "/jobs"), ("GET", "/stats"), ("DELETE", "/jobs/x"), ("GET", "/health")) * 2:
        assert ask(system, method, path).status_code in (200, 404)
    assert system.post("/jobs", JOB).status_code == 201
    for path in ("/jobs", "/jobs/batch", "/submit", "/jobs/x/retry", "/dlq/requeue"):
        refused(ask(system, "POST", path), 429, "too_many_requests")


def test_strangers_are_refused_before_they_are_counted(system: System) -> None:
    system.api(RATE_LIMIT_MAX="1", API_KEYS=KEYS["submit"][1])
    assert [ask(system, "POST", "/jobs").status_code for _ in range(3)] == [401] * 3
    assert ask(system, "POST", "/jobs", Authorization=bearer("submit")).status_code == 201


def test_a_limit_of_zero_is_none(system: System) -> None:
    system.api(RATE_LIMIT_MAX="0")
    assert "RateLimit" not in system.post("/jobs", JOB).headers and not system.server.client.keys("jq:rate:*")


def counted(system: System) -> list[str]:
    return sorted(key.removeprefix("jq:rate:") for key in system.server.client.keys("jq:rate:*"))


def test_a_client_cannot_pass_for_another(system: System) -> None:
    system.api(RATE_LIMIT_MAX="3")
    forged = [{"X_Forwarded_For": "1.2.3.4"}, {"Forwarded": "for=1.2.3.4"}, {"X_Real_IP": "1.2.3.4"}]
    assert [system.post("/jobs", JOB, **headers).status_code for headers in forged] == [201] * 3
    refused(system.post("/jobs", JOB, X_Forwarded_For="5.6.7.8"), 429, "too_many_requests")
    assert counted(system) == ["127.0.0.1"]


def test_a_trusted_proxy_is_believed_about_the_last_address_alone(system: System) -> None:
    program = system.api(TRUSTED_PROXY="127.0.0.1", RATE_LIMIT_MAX="1")
    for told in ("1.2.3.4", "5.6.7.8, 2001:db8:1:2::3", '"forged, 9.9.9.9', "[::,x"):
        answer = say(system, head(POST, JSON, "Content-Length: 13", f"X-Forwarded-For: {told}") + BODY)
        assert (answer.status_code, answer.headers["X-Frame-Options"]) == (201, "DENY"), told
    refused(system.post("/jobs", JOB, X_Forwarded_For="7.7.7.7, 1.2.3.4"), 429, "too_many_requests")
    assert counted(system) == ["1.2.3.4", "2001:db8:1:2::/64", "9.9.9.9", "unknown"]
    assert "forged" not in program.log


PROXY = IPv4Address("10.0.0.1")


CLIENTS = {
    "1.2.3.4": "1.2.3.4",
    "1.2.3.4:567": "1.2.3.4",
    "::ffff:1.2.3.4": "1.2.3.4",
    "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64",
    "2001:db8:1:2::": "2001:db8:1:2::/64",
    "[2001:db8:1:2::9]:567": "2001:db8:1:2::/64",
    "[::ffff:1.2.3.4]": "1.2.3.4",
    "fe80::1%eth0": "fe80::/64",
    "::1": "::/64",
}


@pytest.mark.parametrize("told, client", CLIENTS.items())
def test_clients_are_counted_by_address_or_by_network(told: str, client: str) -> None:
    assert client_of({"REMOTE_ADDR": told}) == client
    forwarded = {"REMOTE_ADDR": "::ffff:10.0.0.1", "HTTP_X_FORWARDED_FOR": f"1.1.1.1,  {told} "}
    assert client_of(forwarded, PROXY) == client
    assert client_of(forwarded, IPv4Address("10.0.0.2")) == client_of(forwarded) == "10.0.0.1"


@pytest.mark.parametrize(
    "told", ["", " ", "x", "1.2.3", "1.2.3.4.5", "01.2.3.4", "[]", "[", ":", ".:1", "1.2.3.4\n", "９"]
)
def test_who_cannot_be_told_apart_is_counted_together(told: str) -> None:
    assert client_of({"REMOTE_ADDR": told}) == client_of({}) == "unknown"
    assert client_of({"REMOTE_ADDR": told, "HTTP_X_FORWARDED_FOR": "1.2.3.4"}, PROXY) == "unknown"


def test_without_redis_nobody_is_let_in_uncounted() -> None:
    gate = Gate(Config(), JobQueue(NOBODY, timeout_s=0.2, retries=0))
    with pytest.raises(Unavailable):
        gate.check(environ(REQUEST_METHOD="POST"), "submit")
    assert gate.check(environ(), "read") == {}
