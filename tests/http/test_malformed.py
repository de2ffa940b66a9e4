"""What the server refuses before there is a request, and that nothing makes the API stumble."""

from __future__ import annotations

import json

import pytest
import requests

from tests.answers import refused
from tests.harness import System
from tests.http.talking import JSON, NDJSON, POST, head, say

# -------------------------------------------------------------------------------- below the routes: what waitress refuses


MALFORMED = {
    "no request line": (b"GARBAGE\r\n\r\n", 400),
    "binary": (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400),
    "a lower-case method": (head("post /jobs HTTP/1.1"), 400),
    "a raw byte in the path": (head("GET /jobs/\xff HTTP/1.1"), 400),
    "half an IPv6 address": (head("GET http://[a HTTP/1.1"), 400),
    "a header without a colon": (head(POST, "Nonsense"), 400),
    "a NUL in a header": (head(POST, "X-Request-ID: a\0b"), 400),
    "a bare line feed in a header": (head(POST, "X-Request-ID: a\nX: b"), 400),
    "two lengths": (head(POST, "Content-Length: 13", "Content-Length: 14") + b'{"payload":1}', 400),
    "a signed length": (head(POST, "Content-Length: +13") + b'{"payload":1}', 400),
    "a length of 5,000 digits": (head(POST, "Content-Length: " + "9" * 5000), 400),
    "a length and chunks": (head(POST, "Content-Length: 5", "Transfer-Encoding: chunked") + b"0\r\n\r\n", 400),
    "chunks in HTTP/1.0": (head("POST /jobs HTTP/1.0", "Transfer-Encoding: chunked") + b"0\r\n\r\n", 400),
    "a bad chunk": (head(POST, "Transfer-Encoding: chunked") + b"zz\r\n{}\r\n0\r\n\r\n", 400),
    "an unknown transfer encoding": (head(POST, "Transfer-Encoding: xchunked"), 501),
    "a header of 20 kB": (head(POST, "X: " + "a" * 20_000), 431),
    "an address of 20 kB": (head("GET /" + "a" * 20_000 + " HTTP/1.1"), 431),
    "5 GB": (head(POST, f"Content-Type: {JSON}", "Content-Length: 5000000000"), 413),
    "5 GB, asked first": (head(POST, "Expect: 100-continue", "Content-Length: 5000000000"), 413),
}


CODES = {400: "bad_request", 413: "too_large", 431: "headers_too_large", 501: "not_implemented"}


@pytest.mark.parametrize("raw, status", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_request_is_a_problem_too(api: System, nothing_stored: None, raw: bytes, status: int) -> None:
    refused(say(api, raw), status, CODES[status])


def test_chunks_without_end_are_refused_at_the_limit(api: System, nothing_stored: None) -> None:
    line = head(POST, f"Content-Type: {JSON}", "Transfer-Encoding: chunked")
    refused(say(api, line, *[b"10000\r\n" + b" " * 65536 + b"\r\n"] * 1000), 413, "too_large")


def test_a_smuggled_second_request_is_not_served(api: System, nothing_stored: None) -> None:
    second = head(POST, f"Content-Type: {JSON}", "Content-Length: 13") + b'{"payload":1}'
    first = head(POST, f"Content-Length: {5 + len(second)}", "Transfer-Encoding: chunked").replace(
        b"close", b"keep-alive"
    )
    refused(say(api, first + b"0\r\n\r\n" + second), 400, "bad_request")


def test_a_request_with_or_without_a_body_may_ask_first(api: System) -> None:
    assert say(api, head("GET /livez HTTP/1.1", "Expect: 100-continue")).status_code == 200
    asked = head(POST, f"Content-Type: {JSON}", "Expect: 100-continue", "Content-Length: 13")
    assert say(api, asked, b'{"payload":1}').status_code == 201


# ------------------------------------------------------------------------------------------------------------ the process


@pytest.mark.parametrize("examples", [50, pytest.param(150, marks=pytest.mark.long(3))])
def test_no_body_makes_the_api_stumble(api: System, examples: int) -> None:
    hypothesis = pytest.importorskip("hypothesis")
    st = hypothesis.strategies
    values = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
        max_leaves=12,
    )
    fields = ["payload", "type", "queue", "priority", "delay_s", "run_at", "timeout_s", "jobs", "x"]
    names = st.sampled_from([*fields, "action", "ids", "filter", "cursor", "dry_run"])
    jobs = st.dictionaries(names, values | st.sampled_from(["echo", "high", "2030-01-31T08:00:00Z"]), max_size=6)
    texts = (jobs | st.builds(lambda rows: {"jobs": rows}, st.lists(jobs | values, max_size=5)) | values).map(
        json.dumps
    )
    broken = st.builds(
        lambda text, at, junk: text[:at] + junk + text[at + 1 :], texts, st.integers(0, 60), st.text(max_size=3)
    )
    bodies = st.binary(max_size=60) | (texts | broken).map(lambda text: text.encode(errors="surrogatepass"))
    session = requests.Session()

    @hypothesis.settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(st.sampled_from(["/jobs", "/jobs/batch", "/jobs/bulk"]), bodies, st.sampled_from([JSON, NDJSON]))
    def check(path: str, body: bytes, kind: str) -> None:
        answer = session.post(api.api_url + path, data=body, headers={"Content-Type": kind}, timeout=30)
        assert answer.status_code in (201, 207, 400, 415, 422), answer.text
        assert answer.headers["Content-Type"] in (JSON, "application/problem+json")
        assert isinstance(answer.json(), dict)

    check()
