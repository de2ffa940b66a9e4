"""Who may call, from where and how often; what is told to nobody; several processes on one port. By real API processes."""

from __future__ import annotations

import hmac
import http.client
import os
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
import requests

from _jobqueue.config import Config
from _jobqueue.keys import ANY_KEY, SCOPES, WORK, new_key, parse_keys
from _jobqueue.logs import Log
from _jobqueue.web import security
from _jobqueue.web.security import Gate, Refused, client_of, is_loopback
from api import Api
from jobqueue import JobQueue, Unavailable
from tests.answers import refused
from tests.harness import ROOT, Program, Server, System, eventually, free_port, run
from tests.http.talking import POST, connect, head, say, stored

BODY = b'{"payload":1}'
JOB = {"payload": 1}
JSON = "Content-Type: application/json"
NOBODY = "redis://127.0.0.1:1/0"
KEYS = {scope: new_key(f"test-{scope}", scope) for scope in (*SCOPES, WORK)}
OPEN = {"/", "/docs", "/redoc", "/health", "/livez", "/openapi.json", "/static/<name>"}


def all_routes() -> list[tuple[str, str]]:
    api = Api(Config(), JobQueue(NOBODY), JobQueue(NOBODY), Log("test"))
    return sorted((route.method, route.rule) for route in api.app.routes)


ROUTES = all_routes()
GUARDED = [(method, rule) for method, rule in ROUTES if rule not in OPEN]


def address(rule: str) -> str:
    return re.sub("<[^>]+>", "x", rule)


def scope_of(method: str, rule: str) -> str:
    """What a call needs: who looks reads, who hands in work submits, who changes other people's work is an admin. Workers work."""
    if rule == "/whoami":
        return ANY_KEY
    if rule.rpartition("/")[2] in ("claim", "extend", "finish", "release"):
        return WORK
    if method == "GET":
        return "read"
    return "submit" if rule in ("/jobs", "/jobs/batch", "/submit", "/submit-job") else "admin"


@pytest.fixture(scope="module")
def shared() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture(scope="module")
def locked(shared: Server, request: pytest.FixtureRequest) -> Iterator[System]:
    """An API with a key for each scope."""
    system = System(shared)
    system.api(API_KEYS=", ".join(entry for _, entry in KEYS.values()))
    yield system
    system.close(show_logs=request.session.testsfailed > 0)


@pytest.fixture(scope="module")
def plain(shared: Server, request: pytest.FixtureRequest) -> Iterator[System]:
    """An API with the default settings."""
    system = System(shared)
    system.api()
    yield system
    system.close(show_logs=request.session.testsfailed > 0)


def ask(system: System, method: str, path: str, **headers: Any) -> requests.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    body = JOB if (method, path) == ("POST", "/jobs") else None
    return requests.request(method, system.api_url + path, json=body, headers=named, timeout=30)


def bearer(scope: str) -> str:
    return f"Bearer {KEYS[scope][0]}"


# -- API keys


def new_key_says(*flags: str) -> subprocess.CompletedProcess[str]:
    return run("api.py", "--new-key", *flags)


def test_a_new_key_is_printed_with_the_entry_that_lets_it_in(system: System) -> None:
    printed = new_key_says("ci.bot-1", "submit")
    key, entry = re.findall(r"\n {4}(\S+)", printed.stdout)
    assert printed.returncode == 0 and len(key) >= 32 and key not in entry
    assert re.fullmatch(r"ci\.bot-1:submit:[0-9a-f]{64}", entry)
    system.api(API_KEYS=entry)
    assert ask(system, "POST", "/jobs", Authorization=f"Bearer {key}").status_code == 201
    assert ask(system, "GET", "/jobs").status_code == 401
    assert new_key_says("ci.bot-1", "submit").stdout != printed.stdout


@pytest.mark.parametrize(
    "flags", [("me", "root"), ("me", "Admin"), ("a b", "read"), ("a:b", "read"), ("", "read"), ("me",)]
)
def test_a_key_of_no_known_scope_or_a_bad_name_is_not_made(flags: tuple[str, ...]) -> None:
    printed = new_key_says(*flags)
    assert printed.returncode == 2 and printed.stdout == "" and "api.py: " in printed.stderr


@pytest.mark.parametrize(
    "entries", ["canary", "me:read:canary", "me:root:" + "c0" * 32, "me:read:" + "C0" * 32, "me:read:" + "c0" * 33]
)
@pytest.mark.parametrize("before", ["", "good:read:" + "c0" * 32 + ","])
def test_a_wrong_entry_is_an_error_at_start_that_does_not_repeat_it(entries: str, before: str) -> None:
    with pytest.raises(ValueError, match="API_KEYS must be name:scope:sha256") as error:
        Config.from_environment({"API_KEYS": before + entries})
    assert "c0c0" not in str(error.value).lower() and "canary" not in str(error.value)


def test_an_api_with_a_wrong_entry_does_not_start(system: System) -> None:
    program = system.start("api.py", "--port", str(free_port()), API_KEYS="me:read:canary")
    assert program.exits() == 2
    assert "API_KEYS" in program.log and "canary" not in program.log and "listening" not in program.log


WITHOUT_KEY: dict[str, list[str | bytes]] = {
    "none": [],
    "empty": [""],
    "only the scheme": ["Bearer"],
    "an empty key": ["Bearer "],
    "another scheme": [f"Basic {KEYS['admin'][0]}"],
    "no scheme": [KEYS["admin"][0]],
    "too short": [bearer("admin")[:-1]],
    "too long": [bearer("admin") + "a"],
    "very long": ["Bearer " + "a" * 10_000],
    "in other letters": [bearer("admin").swapcase()],
    "not ASCII": ["Bearer kéÿ".encode("latin-1")],
    "not Latin": ["Bearer ключ".encode()],
    "the hash": ["Bearer " + KEYS["admin"][1].rpartition(":")[2]],
    "given twice": [bearer("admin"), bearer("admin")],
    "given after another": ["Bearer x", bearer("admin")],
}


def with_headers(system: System, method: str, path: str, values: list[str | bytes]) -> tuple[int, bytes, str | None]:
    """Status, body and WWW-Authenticate when the Authorization headers are these."""
    host = system.api_url.removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=30)
    connection.putrequest(method, path)
    for value in values:
        connection.putheader("Authorization", value)
    connection.endheaders()
    answer = connection.getresponse()
    found = answer.status, answer.read(), answer.getheader("WWW-Authenticate")
    connection.close()
    return found


@pytest.mark.parametrize("values", WITHOUT_KEY.values(), ids=WITHOUT_KEY)
def test_without_a_valid_key_every_call_gets_the_same_401(locked: System, values: list[str | bytes]) -> None:
    assert len(GUARDED) >= 20
    expected = ask(locked, "GET", "/jobs")
    refused(expected, 401, "no_key")
    for method, rule in GUARDED:
        found = with_headers(locked, method, address(rule), values)
        assert found == (401, expected.content, "Bearer"), (method, rule)


def test_what_is_open_is_open_without_a_key(locked: System) -> None:
    assert {rule for _, rule in ROUTES} >= OPEN
    for path in (OPEN - {"/static/<name>"}) | {"/static/docs.js", "/static/docs.css"}:
        assert ask(locked, "GET", path).status_code == 200, path
    assert ask(locked, "OPTIONS", "/jobs").status_code == 204


def may(scope: str, wanted: str) -> bool:
    wider = scope in SCOPES and wanted in SCOPES and SCOPES.index(scope) >= SCOPES.index(wanted)
    return wider or wanted in (scope, ANY_KEY)


@pytest.mark.parametrize("scope", [*SCOPES, WORK])
def test_each_call_asks_for_its_scope_and_takes_a_wider_one(locked: System, scope: str) -> None:
    for method, rule in GUARDED:
        answer = ask(locked, method, address(rule), Authorization=bearer(scope))
        if not may(scope, scope_of(method, rule)):
            detail = refused(answer, 403, "scope_too_small")["detail"]
            assert scope_of(method, rule) in detail, (method, rule)
        else:
            assert answer.status_code not in (401, 403, 500, 503), (method, rule, answer.text)


def test_head_needs_what_get_needs(locked: System) -> None:
    assert requests.head(locked.api_url + "/jobs", timeout=30).status_code == 401


def test_the_details_of_health_need_a_key_and_the_probe_does_not(locked: System) -> None:
    assert locked.get("/health").json().keys() == {"status", "version"}
    refused(locked.get("/health?verbose"), 401, "no_key")
    assert "redis" in ask(locked, "GET", "/health?verbose", Authorization=bearer("read")).json()


def test_the_word_bearer_may_be_written_small(locked: System) -> None:
    assert ask(locked, "GET", "/jobs", Authorization=bearer("read").replace("Bearer", "bearer")).status_code == 200


def test_two_keys_of_one_name_work_while_one_replaces_the_other(system: System) -> None:
    old, new = new_key("app", "submit"), new_key("app", "submit")
    system.api(API_KEYS=f"{old[1]},{new[1]}")
    for key, _ in (old, new):
        assert ask(system, "POST", "/jobs", Authorization=f"Bearer {key}").status_code == 201
    system.api(API_KEYS=new[1])
    assert ask(system, "POST", "/jobs", Authorization=f"Bearer {new[0]}").status_code == 201
    refused(ask(system, "POST", "/jobs", Authorization=f"Bearer {old[0]}"), 401, "no_key")


def environ(**more: Any) -> dict[str, Any]:
    return {"REQUEST_METHOD": "GET", "HTTP_HOST": "localhost", "REMOTE_ADDR": "127.0.0.1", **more}


def test_keys_are_compared_in_constant_time_as_hashes_of_one_length(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[Any, Any]] = []

    gate = Gate(Config(api_keys=parse_keys(",".join(entry for _, entry in KEYS.values()))), JobQueue(NOBODY))
    original = hmac.compare_digest

    def compare(one: bytes, other: bytes) -> bool:
        seen.append((one, other))
        return original(one, other)

    monkeypatch.setattr(security.hmac, "compare_digest", compare)
    with pytest.raises(Refused, match="send a valid API key"):
        gate.check(environ(HTTP_AUTHORIZATION="Bearer kéÿ"), "read")
    assert gate.check(environ(HTTP_AUTHORIZATION=bearer("read")), "read") == {}
    assert len(seen) == 2 * len(KEYS)
    assert {(type(part), len(part)) for pair in seen for part in pair} == {(bytes, 32)}


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_no_key_is_told_to_the_log(system: System, log_format: str) -> None:
    program = system.api(API_KEYS=",".join(entry for _, entry in KEYS.values()), LOG_FORMAT=log_format)
    for scope in SCOPES:
        ask(system, "POST", "/jobs", Authorization=bearer(scope))
        ask(system, "POST", "/jobs/x/retry", Authorization=bearer(scope))
        ask(system, "POST", "/jobs", Authorization=bearer(scope) + "canary")
        say(system, head(POST, f"Authorization: {bearer(scope)}", "Content-Length: x"))
        say(system, head(POST, f"Authorization: {bearer(scope)}\n{bearer(scope)}"))
        say(system, head(POST, f"Authorization{bearer(scope)}"))
    eventually(lambda: program.log.count("status"), equals=lambda lines: lines > 10)
    program.says("test-admin:admin")
    for key, entry in KEYS.values():
        assert key not in program.log and entry.rpartition(":")[2] not in program.log


# -- where it listens


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_it_refuses_to_listen_where_others_can_reach_it_without_keys(system: System, host: str) -> None:
    program = system.start("api.py", "--host", host, "--port", str(free_port()))
    assert program.exits() == 1
    assert f"refusing to listen on {host}" in program.log and "--new-key" in program.log
    assert "--insecure" in program.log and "listening url" not in program.log


@pytest.mark.parametrize(
    "flags, environment",
    [(("--insecure",), {}), ((), {"API_INSECURE": "1"}), ((), {"API_KEYS": KEYS["read"][1]})],
    ids=["the flag", "the variable", "a key"],
)
def test_it_listens_there_with_keys_or_when_told_twice(
    system: System, flags: tuple[str, ...], environment: dict[str, str]
) -> None:
    port = free_port()
    system.start("api.py", "--host", "0.0.0.0", "--port", str(port), *flags, **environment).says("listening")
    system.api_url = f"http://127.0.0.1:{port}"
    assert system.get("/jobs").status_code == (401 if environment.get("API_KEYS") else 200)


def test_only_this_machine_is_loopback() -> None:
    assert all(map(is_loopback, ["localhost", "127.0.0.1", "127.0.0.2", "::1"]))
    assert not any(map(is_loopback, ["", "0.0.0.0", "::", "localhost.example", "127.1.example", "10.0.0.1", "*"]))


# -- host names and origins


def test_a_name_that_is_not_ours_is_refused_everywhere_but_by_the_probes(plain: System) -> None:
    for method, rule in ROUTES:
        path = "/static/docs.js" if rule.startswith("/static") else address(rule)
        answer = ask(plain, method, path, Host="rebound.example")
        if rule in ("/health", "/livez"):
            assert answer.status_code == 200
        else:
            refused(answer, 403, "host_not_allowed")
    refused(ask(plain, "GET", "/health?verbose", Host="rebound.example"), 403, "host_not_allowed")


@pytest.mark.parametrize(
    "hosts, good, bad",
    [
        (
            "",
            ["localhost", "LocalHost:1", "127.0.0.1:80", "[::1]", "[::1]:8000"],
            ["", "localhost.example", "127.0.0.2"],
        ),
        (
            "api.example, [2001:DB8::1]",
            ["API.example:443", "[2001:db8::1]:80"],
            ["localhost", "x.api.example", "[::1]"],
        ),
        ("*", ["anything.example", "", "10.0.0.1:9"], []),
    ],
)
def test_names_are_compared_without_port_and_case(hosts: str, good: list[str], bad: list[str]) -> None:
    gate = Gate(Config.from_environment({"ALLOWED_HOSTS": hosts}), JobQueue(NOBODY))
    for host in good:
        gate.check(environ(HTTP_HOST=host), "read")
    for host in [*bad, "evil.example#localhost", "localhost@evil.example", "localhost, evil.example"] if bad else []:
        with pytest.raises(Refused, match="ALLOWED_HOSTS"):
            gate.check(environ(HTTP_HOST=host), "read")


def test_the_address_that_is_bound_is_ours() -> None:
    Gate(Config(api_host="192.0.2.7"), JobQueue(NOBODY)).check(environ(HTTP_HOST="192.0.2.7:8000"), "read")
    Gate(Config(api_host="2001:db8::7"), JobQueue(NOBODY)).check(environ(HTTP_HOST="[2001:db8::7]:8000"), "read")


def test_two_names_at_once_and_none_are_refused(plain: System) -> None:
    twice = head("GET /jobs HTTP/1.1", "Host: evil.example")
    assert say(plain, twice).status_code in (400, 403)
    refused(say(plain, b"GET /jobs HTTP/1.0\r\n\r\n"), 403, "host_not_allowed")


def test_a_service_behind_its_name_is_called_by_it(system: System) -> None:
    system.api(ALLOWED_HOSTS="jobs.example")
    assert ask(system, "POST", "/jobs", Host="jobs.example", Origin="https://jobs.example").status_code == 201
    refused(ask(system, "POST", "/jobs"), 403, "host_not_allowed")


WRITES = [
    ("POST", "/jobs"),
    ("POST", "/jobs/bulk"),
    ("POST", "/dlq/requeue"),
    ("POST", "/queues/x/pause"),
    ("DELETE", "/jobs/x"),
]


@pytest.mark.parametrize("method, path", WRITES)
def test_another_sites_page_cannot_write(plain: System, method: str, path: str) -> None:
    before, ours = stored(plain), plain.api_url
    others = ["null", "", "https://evil.example", f"{ours}.evil.example", f"{ours}0", "http://127.0.0.1", "http://["]
    others += [f"http://evil.example#{ours}", ours.replace("//", "//evil@"), ours.replace("127.0.0.1", "localhost")]
    answers = [ask(plain, method, path, Origin=origin) for origin in others]
    answers += [ask(plain, method, path, Sec_Fetch_Site=site) for site in ("cross-site", "same-site", "?")]
    answers.append(ask(plain, method, path, Origin=ours, Sec_Fetch_Site="cross-site"))
    for answer in answers:
        refused(answer, 403, "foreign_origin")
        assert not [name for name in answer.headers if name.lower().startswith("access-control")]
    assert stored(plain) == before


def test_our_own_pages_and_clients_that_are_no_browsers_can(plain: System) -> None:
    for headers in ({}, {"Origin": plain.api_url}, {"Origin": plain.api_url, "Sec_Fetch_Site": "same-origin"}):
        assert ask(plain, "POST", "/jobs", **headers).status_code == 201


def test_a_reader_of_another_site_gets_no_leave_to_read(plain: System) -> None:
    for path in ("/jobs", "/health", "/openapi.json", "/docs", "/static/docs.js"):
        answer = ask(plain, "GET", path, Origin="https://evil.example", Access_Control_Request_Method="POST")
        assert answer.status_code == 200
        assert not [name for name in answer.headers if name.lower().startswith("access-control")]


def test_a_form_cannot_pass_for_json(plain: System) -> None:
    """A form may send text/plain across sites; here even one of our own origin is refused."""
    before, line = stored(plain), '{"payload": "="}'
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        headers = {"Content-Type": kind, "Origin": plain.api_url}
        answer = requests.post(f"{plain.api_url}/jobs", data=line, headers=headers, timeout=30)
        refused(answer, 415, "wrong_content_type")
    assert stored(plain) == before


# -- headers of every answer

SAFE = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
ANSWERS = {
    "a page": (head("GET /docs HTTP/1.1"), 200),
    "its script": (head("GET /static/docs.js HTTP/1.1"), 200),
    "the probe": (head("GET /livez HTTP/1.1"), 200),
    "a list": (head("GET /jobs HTTP/1.1"), 200),
    "metrics for Prometheus": (head("GET /metrics?format=prometheus HTTP/1.1"), 200),
    "a new job": (head(POST, JSON, "Content-Length: 13") + BODY, 201),
    "the methods": (head("OPTIONS /jobs HTTP/1.1"), 204),
    "not JSON": (head(POST, JSON, "Content-Length: 1") + b"{", 400),
    "another origin": (head(POST, "Origin: null"), 403),
    "no such job": (head("GET /jobs/x HTTP/1.1"), 404),
    "no such address": (head("GET /nowhere HTTP/1.1"), 404),
    "no such file": (head("GET /static/..%2fapi.py HTTP/1.1"), 404),
    "another method": (head("PUT /jobs HTTP/1.1"), 405),
    "another type": (head(POST, "Content-Type: text/plain", "Content-Length: 13") + BODY, 415),
    "a wrong field": (head(POST, JSON, "Content-Length: 7") + b'{"x":1}', 422),
    "a defect": (head("GET /jobs/broken HTTP/1.1"), 500),
    "waitress: garbage": (b"GARBAGE\r\n\r\n", 400),
    "waitress: too large": (head(POST, "Content-Length: 5000000000"), 413),
    "waitress: long headers": (head(POST, "X: " + "a" * 20_000), 431),
    "waitress: an encoding": (head(POST, "Transfer-Encoding: gzip"), 501),
}


@pytest.mark.parametrize("raw, status", ANSWERS.values(), ids=ANSWERS)
def test_every_answer_has_the_safe_headers_once(plain: System, raw: bytes, status: int) -> None:
    if status == 500:
        job_id = plain.submit()
        plain.server.client.hset(f"jq:{{default}}:job:{job_id}", "payload", "{broken")
        raw = raw.replace(b"broken", job_id.encode())
    answer = say(plain, raw)
    assert answer.status_code == status, answer.text
    files = raw.startswith((b"GET /docs ", b"GET /static/docs.js "))  # the same for all: kept, and asked for each time
    safe = SAFE | ({"Cache-Control": "no-cache"} if files else {})
    assert {name: answer.headers.get_all(name) for name in safe} == {name: [value] for name, value in safe.items()}
    assert len(answer.headers.get_all("X-Request-ID")) == 1 and answer.headers["Server"] is None
    assert not [name for name in answer.headers if name.lower().startswith(("access-control", "set-cookie"))]


class Inline(HTMLParser):
    """Finds what the policy forbids: code and style in the page itself, and addresses elsewhere."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found, self.count = list[str](), 0
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.count += 1
        named = dict(attributes)
        if tag in ("style", "base", "iframe", "object") or (tag == "script" and "src" not in named):
            self.found.append(tag)
        self.found += [name for name in named if name == "style" or name.startswith("on")]
        links = [value or "" for name, value in attributes if name in ("src", "href", "action")]
        self.found += [value for value in links if not re.match(r"/(?!/)|#", value)]


def test_the_pages_hold_no_code_no_style_and_nothing_from_elsewhere(plain: System) -> None:
    for path in ("/", "/docs", "/redoc"):
        page = Inline(plain.get(path).text)
        assert page.count > 5 and page.found == [], path
    for file in (ROOT / "_jobqueue/web/static").iterdir():
        text = file.read_text().replace("http://www.w3.org/2000/svg", "")  # a name, not an address
        assert not re.findall(r"\w+://|@import|\binnerHTML\b|\beval\(|document\.write", text), file.name


# -- how often


def post(connection: http.client.HTTPConnection, **headers: str) -> http.client.HTTPResponse:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request("POST", "/jobs", BODY, {"Content-Type": "application/json", **named})
    answer = connection.getresponse()
    answer.read()
    return answer


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


# -- below the routes

CHUNKED = "Transfer-Encoding: chunked"
AMBIGUOUS = {
    "a vertical tab": (["Transfer-Encoding: \x0bchunked"], b""),
    "two encodings": (["Transfer-Encoding: chunked, identity"], b"0\r\n\r\n"),
    "an encoding twice": ([CHUNKED, CHUNKED], b"0\r\n\r\n"),
    "an encoding and another": ([CHUNKED, "Transfer-Encoding: x"], b"0\r\n\r\n"),
    "an encoding and a comma": ([CHUNKED + ","], b"0\r\n\r\n"),
    "an encoding on a second line": ([CHUNKED + "\r\n ,chunked"], b"0\r\n\r\n"),
    "a header on two lines": (["X: y\r\n\tContent-Length: 5", "Content-Length: 0"], b""),
    "a space before the colon": (["Transfer-Encoding : chunked"], b"0\r\n\r\n"),
    "a length, then chunks": (["Content-Length: 5", CHUNKED], b"0\r\n\r\n"),
    "chunks, then a length": ([CHUNKED, "content-length: 5"], b"0\r\n\r\n"),
    "an underscore": (["Content_Length: 0", "Content-Length: 13", CHUNKED], b"0\r\n\r\n"),
    "one length twice": (["Content-Length: 0", "Content-Length: 0"], b""),
    "a list of lengths": (["Content-Length: 0, 0"], b""),
    "a negative length": (["Content-Length: -1"], b""),
    "a hexadecimal length": (["Content-Length: 0x0"], b""),
    "a length with an underscore": (["Content-Length: 1_3"], BODY),
    "a length in other digits": (["Content-Length: \xb2"], b""),
    "a signed chunk": ([CHUNKED], b"+2\r\n{}\r\n0\r\n\r\n"),
    "a chunk with 0x": ([CHUNKED], b"0x2\r\n{}\r\n0\r\n\r\n"),
    "a chunk with an underscore": ([CHUNKED], b"0_2\r\n{}\r\n0\r\n\r\n"),
    "a chunk longer than it says": ([CHUNKED], b"2\r\n{}{}\r\n0\r\n\r\n"),
    "a bare line feed in chunks": ([CHUNKED], b"2\n{}\n0\n\n"),
    "a bare line feed between headers": (["Content-Length: 0\nX: y"], b""),
}


@pytest.mark.parametrize("headers, body", AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_after_an_ambiguous_request_the_connection_is_closed(plain: System, headers: list[str], body: bytes) -> None:
    """What a proxy took for a part of the first request must not be served as a second."""
    before = stored(plain)
    first = head(POST, JSON, *headers).replace(b"close", b"keep-alive") + body
    second = head(POST, JSON, "Content-Length: 13") + BODY
    with connect(plain) as client:
        client.sendall(first + second)
        answers = everything(client)
    assert re.findall(rb"HTTP/1\.\d (\d)\d\d [A-Z]", answers) in ([b"4"], [b"5"]), answers[:300]
    assert b"\r\nConnection: close\r\n" in answers and answers.count(b"Connection: ") == 1
    assert stored(plain) == before


def everything(client: socket.socket) -> bytes:
    """What it sends until it hangs up, which it has to do."""
    found = b""
    try:
        while data := client.recv(65536):
            found += data
    except ConnectionResetError:
        pass
    return found


def test_lines_that_end_in_a_bare_line_feed_are_no_request(plain: System) -> None:
    before = stored(plain)
    with connect(plain) as client:
        client.sendall((head(POST, JSON, "Content-Length: 13") + BODY).replace(b"\r\n", b"\n"))
        client.shutdown(socket.SHUT_WR)
        assert everything(client) == b""
    assert stored(plain) == before


def test_clients_that_dribble_do_not_keep_an_honest_one_waiting(system: System) -> None:
    system.api(API_THREADS="2")
    whole = head(POST, JSON, "Content-Length: 5000").replace(b"close", b"keep-alive")
    halves = [whole[:30], whole, head(POST, JSON, CHUNKED) + b"ff\r\n{"]
    slow = [connect(system) for _ in range(150)]
    for n, client in enumerate(slow):
        client.sendall(halves[n % 3])
    for _ in range(5):
        for client in slow:
            client.sendall(b" ")
        answer = requests.post(f"{system.api_url}/jobs", json=JOB, timeout=10)
        assert answer.status_code == 201
    for client in slow:
        client.close()
    assert stored(system) == 5


# -- several processes


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def sockets(pid: int) -> int:
    links = [os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()]
    return sum(link.startswith("socket:") for link in links)


@pytest.fixture
def group(system: System) -> Iterator[Program]:
    """An API of two processes."""
    port = free_port()
    system.api_url = f"http://127.0.0.1:{port}"
    program = system.start("api.py", "--port", str(port), "--processes", "2")
    seen = set[int]()
    try:
        eventually(lambda: program.log.count("listening"), equals=2, within_s=30)
        seen |= set(children(program.pid))
        yield program
        seen |= set(children(program.pid)) if lives(program.pid) else set()
    finally:
        for pid in seen:  # they are in sessions of their own: the harness would not find them
            if lives(pid):
                os.kill(pid, signal.SIGKILL)


def test_two_processes_share_a_port(system: System, group: Program) -> None:
    one, other = children(group.pid)
    before = {pid: sockets(pid) for pid in (one, other)}
    clients = [connect(system) for _ in range(40)]
    eventually(lambda: min(sockets(pid) - before[pid] for pid in (one, other)), equals=lambda more: more >= 5)
    for client in clients:
        client.sendall(head("GET /livez HTTP/1.1"))
        assert everything(client).startswith(b"HTTP/1.1 200")
        client.close()
    assert len({system.submit(n) for n in range(20)}) == 20


def test_a_process_that_dies_is_replaced(system: System, group: Program) -> None:
    victim, survivor = children(group.pid)
    os.kill(victim, signal.SIGKILL)
    eventually(lambda: group.log.count("listening"), equals=3, within_s=30)
    group.says("a process ended; starting another")
    now = children(group.pid)
    assert len(now) == 2 and survivor in now and victim not in now
    assert all(system.post("/jobs", JOB).status_code == 201 for _ in range(10))


def test_all_processes_stop_when_they_are_told_to(group: Program) -> None:
    pids = children(group.pid)
    assert group.stop(within_s=30) == 0
    assert not any(map(lives, pids)) and group.log.count("stopped") == 2 and "Traceback" not in group.log


def test_processes_end_when_their_parent_was_killed(system: System, group: Program) -> None:
    pids = children(group.pid)
    os.kill(group.pid, signal.SIGKILL)
    eventually(lambda: [pid for pid in pids if lives(pid)], equals=[], within_s=30)
    with pytest.raises(requests.ConnectionError):
        system.get("/livez")


def test_a_stranger_cannot_join_the_port_by_mistake(system: System, group: Program) -> None:
    second = system.start("api.py", "--port", system.api_url.rpartition(":")[2])
    assert second.exits() == 1 and "cannot listen on 127.0.0.1" in second.log


def test_processes_that_cannot_listen_give_up(system: System) -> None:
    system.api()
    port = system.api_url.rpartition(":")[2]
    program = system.start("api.py", "--port", port, "--processes", "2")
    assert program.exits(30) == 2
    assert "Address already in use" in program.log and "starting another" not in program.log


def test_processes_share_one_count(system: System) -> None:
    """The limit holds for the port, not for each process behind it."""
    port = free_port()
    system.api_url = f"http://127.0.0.1:{port}"
    program = system.start("api.py", "--port", str(port), API_PROCESSES="2", RATE_LIMIT_MAX="10")
    eventually(lambda: program.log.count("listening"), equals=2, within_s=30)
    found = flood([system.api_url], clients=20, each=2)
    assert (found.count(201), found.count(429)) == (10, 30)
    assert program.stop(30) == 0
