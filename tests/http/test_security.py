"""Who may call, from where and how often; what is told to nobody; several processes on one port. By real API processes."""

from __future__ import annotations

import re
import socket
from html.parser import HTMLParser

import pytest
import requests

from _jobqueue.config import Config
from _jobqueue.web.security import Gate, Refused, is_loopback
from jobqueue import JobQueue
from tests.answers import refused
from tests.harness import ROOT, System, free_port
from tests.http.locks import BODY, JOB, JSON, KEYS, NOBODY, ROUTES, address, ask, environ, everything
from tests.http.talking import POST, connect, head, say, stored

# ------------------------------------------------------------------------------------------------------- where it listens


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


# ------------------------------------------------------------------------------------------------- host names and origins


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


# ------------------------------------------------------------------------------------------------ headers of every answer


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


# ------------------------------------------------------------------------------------------------------- below the routes


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
