"""The HTTP contract, by a real API process on a real Redis: what is taken, what is refused, and in which words."""

from __future__ import annotations

import http.client
import json
import re
import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from _jobqueue.web.diagnosis import Advice, Patience
from jobqueue import JobQueue, NewJob, __version__
from tests.answers import pointers, refused
from tests.harness import ROOT, Server, System, eventually, free_port
from tests.played import Worker, recover

JSON = "application/json"
NDJSON = "application/x-ndjson"
JOB = {"payload": 1}
MIB = 2**20


@pytest.fixture
def nothing_stored(api: System) -> Iterator[None]:
    before = stored(api)
    yield
    assert stored(api) == before


def stored(system: System) -> int:
    """How many jobs Redis has ever taken."""
    client = system.server.client
    return sum(int(client.hget(key, "submitted")) for key in client.keys("jq:*totals"))


def send(
    system: System, path: str, body: bytes | str | None, content_type: str | None = JSON, **headers: str
) -> requests.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if content_type is not None:
        named["Content-Type"] = content_type
    raw = body.encode() if isinstance(body, str) else body
    return requests.post(system.api_url + path, data=raw, headers=named, timeout=30)


class Answer:
    """What came back over a bare socket."""

    def __init__(self, raw: http.client.HTTPResponse) -> None:
        self.status_code, self.headers, self.text = raw.status, raw.headers, raw.read().decode()

    def json(self) -> Any:
        return json.loads(self.text)


def connect(system: System) -> socket.socket:
    host, _, port = system.api_url.removeprefix("http://").rpartition(":")
    return socket.create_connection((host, int(port)), timeout=15)


def say(system: System, *parts: bytes, method: str = "POST") -> Answer:
    """Send bytes as they are."""
    with connect(system) as client:
        try:
            for part in parts:
                client.sendall(part)
        except OSError:
            pass  # the server has seen enough
        raw = http.client.HTTPResponse(client, method=method)
        raw.begin()
        return Answer(raw)


def head(line: str, *headers: str) -> bytes:
    return "\r\n".join([line, "Host: localhost", "Connection: close", *headers, "", ""]).encode("latin-1")


# -- one job


def test_a_job_is_answered_with_its_address_and_found_there(api: System) -> None:
    answer = api.post("/jobs", {"type": "email.send", "payload": {"to": "a@b.c"}, "priority": "high"})
    job = answer.json()
    assert answer.status_code == 201 and answer.headers["Content-Type"] == JSON
    assert answer.headers["Location"] == f"/jobs/{job['job_id']}"
    assert (job["status"], job["priority"], job["attempts"]) == ("queued", 9, 0)
    found = api.job(job["job_id"])
    assert found["payload"] == {"to": "a@b.c"} and found["created_at"] == job["created_at"]


def test_a_payload_that_is_left_out_is_null(api: System) -> None:
    assert api.post("/jobs", {"type": "noop"}).json()["payload"] is None
    assert api.job(api.post("/jobs", {}).json()["job_id"])["payload"] is None
    results = api.post("/jobs/batch", {"jobs": [{}, {"payload": 1}]}).json()["results"]
    assert [result["job"]["payload"] for result in results] == [None, 1]


ANY_JSON: list[Any] = [
    None,
    0,
    "",
    [],
    {},
    "ünïcödé 🎉 \u0000 \u2028 </script>",
    [1e300, -0.5, 10**400],
    {"": {"~/": []}},
]


@pytest.mark.parametrize("payload", ANY_JSON, ids=range(len(ANY_JSON)))
def test_any_json_survives_as_a_payload(api: System, payload: Any) -> None:
    answer = api.post("/jobs", {"payload": payload})
    assert answer.status_code == 201 and answer.json()["payload"] == payload
    assert json.loads(api.get(answer.headers["Location"]).content.decode("utf-8"))["payload"] == payload


def test_unicode_is_answered_as_itself(api: System) -> None:
    assert "zażółć 🎉" in send(api, "/jobs", '{"payload": "zażółć 🎉"}').content.decode("utf-8")


def test_a_key_of_almost_a_megabyte_may_stand_in_a_payload(api: System) -> None:
    payload = {"k" * (MIB - 100): 1}
    assert api.job(api.submit(payload))["payload"] == payload


@pytest.mark.parametrize("kind", [JSON, "Application/JSON", f"{JSON}; charset=UTF-8", f'{JSON};v=1;charset="utf8"'])
def test_json_may_be_announced_in_several_ways(api: System, kind: str) -> None:
    assert send(api, "/jobs", b'{"payload":1}', kind).status_code == 201


def test_a_body_may_come_in_chunks(api: System) -> None:
    chunks = b'8\r\n{"payloa\r\n6\r\nd": 7}\r\n0\r\n\r\n'
    line = head("POST /jobs HTTP/1.1", f"Content-Type: {JSON}", "Transfer-Encoding: chunked")
    assert say(api, line, chunks).json()["payload"] == 7


# -- refused: nothing of it is stored

NOT_JSON = {
    "nothing": b"",
    "white space": b" \n ",
    "half an object": b'{"payload": 1',
    "two values": b'{"payload": 1} {"payload": 1}',
    "a byte order mark": b'\xef\xbb\xbf{"payload": 1}',
    "UTF-16": '{"payload": 1}'.encode("utf-16"),
    "UTF-32": '{"payload": 1}'.encode("utf-32-le"),
    "bad UTF-8": b'{"payload": "\xff\xfe"}',
    "half a pair": rb'{"payload": "\ud800"}',
    "half a pair as a key": rb'{"payload": {"\udfff": 1}}',
    "NaN": b'{"payload": NaN}',
    "Infinity": b'{"payload": [-Infinity]}',
    "1e999": b'{"payload": 1e999}',
    "a number of 5,000 digits": b'{"payload": ' + b"7" * 5000 + b"}",
    "65 levels": b'{"payload": ' + b"[" * 64 + b"]" * 64 + b"}",
    "50,000 levels": b"[" * 50_000 + b"]" * 50_000,
    "50,000 open objects": b'{"payload":' * 50_000,
    "a key twice": b'{"payload": 1, "payload": 2}',
    "a key twice, far inside": b'{"payload": [{"a": {"b": 1, "c": 2, "b": 1}}]}',
    "a control character": b'{"payload": "\x01"}',
    "a bare NUL": b'{"payload": 1}\x00',
    "100,000 keys, the last two alike": b"{" + b"".join(b'"%d":1,' % n for n in range(90_000)) + b'"z":1,"z":1}',
    "a string without end": b"[" * 65 + b'"' + rb"\"" * 400_000,
}


@pytest.mark.parametrize("body", NOT_JSON.values(), ids=NOT_JSON)
def test_what_is_not_strict_json_is_a_400(api: System, nothing_stored: None, body: bytes) -> None:
    for path in ("/jobs", "/jobs/batch"):
        refused(send(api, path, body), 400, "not_json")


OTHER_TYPES = [None, "", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]
OTHER_TYPES += [
    "application/jsonx",
    "application/json, text/plain",
    f"{JSON}; charset=latin-1",
    f"{JSON};Charset='utf-16'",
]


@pytest.mark.parametrize("kind", OTHER_TYPES)
def test_another_content_type_is_a_415(api: System, nothing_stored: None, kind: str | None) -> None:
    for path in ("/jobs", "/jobs/batch"):
        refused(send(api, path, b'{"payload": 1}', kind), 415, "wrong_content_type")


def test_a_compressed_body_is_a_415(api: System, nothing_stored: None) -> None:
    refused(send(api, "/jobs", b"\x1f\x8b", Content_Encoding="gzip"), 415, "wrong_content_type")


@pytest.mark.parametrize("body", ["null", "[]", '"x"', "1", "true", '[{"payload": 1}]'])
def test_json_that_is_no_object_is_a_422_on_the_body(api: System, nothing_stored: None, body: str) -> None:
    for path in ("/jobs", "/jobs/batch"):
        assert pointers(refused(send(api, path, body), 422, "invalid_request")) == [""]


WRONG_VALUES: dict[str, list[Any]] = {
    "type": [None, "", "a b", "a" * 65, "ü", "a\n", 1, ["echo"], {}],
    "queue": [None, "", "}x{", "a:b", "a\u0000", "q" * 65, 7],
    "priority": [None, -1, 10, 5.0, "5", "urgent", True, []],
    "delay_s": [None, -1, 1e300, "1", True, 365 * 86400 + 1],
    "timeout_s": [None, 0, 0.09, 86401, "10", 10**4000],
    "backoff_s": [None, -0.1, 86401, {}],
    "max_backoff_s": [None, -0.1, 86401, {}],
    "jitter": [None, -0.1, 1.1, True, "0.5"],
    "max_attempts": [None, 0, 101, 1.5, "2", False],
    "run_at": [None, "tomorrow", 1, "2030-01-31T08:00:00", "9999-01-01T00:00:00Z", "2030-02-30T08:00:00Z"],
    "colour": [None, 1],
    "Priority": [5],
    "job_id": ["x"],
}


@pytest.mark.parametrize("name, value", [(name, value) for name, values in WRONG_VALUES.items() for value in values])
def test_a_wrong_field_is_a_422_that_points_at_it(api: System, nothing_stored: None, name: str, value: Any) -> None:
    assert pointers(refused(api.post("/jobs", {**JOB, name: value}), 422, "invalid_request")) == [f"/{name}"]


def test_all_wrong_fields_are_named_at_once(api: System, nothing_stored: None) -> None:
    body = {"type": 1, "queue": "", "priority": 3.5, "timeout_s": None, "colour": 1, "run_at": "2020-01-31T08:00:00Z"}
    wrong = sorted(pointers(refused(api.post("/jobs", {**body, "delay_s": 1}), 422, "invalid_request")))
    assert wrong == ["/colour", "/priority", "/queue", "/run_at", "/timeout_s", "/type"]


def test_a_pointer_is_escaped_and_bounded(api: System, nothing_stored: None) -> None:
    body = {**JOB, "a/b~c": 1, "": 1, "k" * (MIB - 100): 1}
    wrong = sorted(pointers(refused(api.post("/jobs", body), 422, "invalid_request")))
    assert wrong == ["/", "/a~1b~0c", "/" + "k" * 64]


def test_a_hundred_thousand_wrong_fields_get_a_short_answer(api: System, nothing_stored: None) -> None:
    answer = api.post("/jobs", {f"{n}": 1 for n in range(80_000)})
    assert len(refused(answer, 422, "invalid_request")["errors"]) == 20
    assert len(answer.text) < 5000 and "and 79980 more" in answer.text


def test_a_body_of_the_largest_size_is_taken_and_one_byte_more_is_a_413(system: System) -> None:
    system.api(MAX_BODY_BYTES="2000", MAX_BATCH_BYTES="3000")
    for path, limit, start in (("/jobs", 2000, '{"payload":"'), ("/jobs/batch", 3000, '{"jobs":[{"payload":"')):
        end = '"}]}' if "[" in start else '"}'
        fits = start + "x" * (limit - len(start + end)) + end
        assert send(system, path, fits).status_code == 201
        refused(send(system, path, fits + " "), 413, "too_large")
        refused(send(system, path, fits + " " * 5 * MIB), 413, "too_large")
    assert stored(system) == 2


# -- addresses and methods


@pytest.mark.parametrize(
    "job_id", ["x", "batch", "%00", "%0a", "ünï", "A" * 8000, "9f8b1c9e-4f9b-4d53-9d1a-5f6d3a1b2c3d"]
)
def test_any_other_id_is_a_404(api: System, job_id: str) -> None:
    refused(api.get(f"/jobs/{job_id}"), 404, "job_not_found")


@pytest.mark.parametrize(
    "path", ["/job", "/jobs/", "/jobs/x/y", "/jobs/%ff", "/livez/", "/%2e%2e/api.py", "/metrics%0a", "*"]
)
def test_another_address_is_a_404(api: System, path: str) -> None:
    refused(say(api, head(f"GET {path} HTTP/1.1")), 404, "no_such_route")


@pytest.mark.parametrize(
    "method, path, allowed",
    [("GET", "/submit", "OPTIONS, POST"), ("DELETE", "/jobs", "GET, HEAD, OPTIONS, POST")]
    + [(method, "/jobs/x", "DELETE, GET, HEAD, OPTIONS") for method in ("PUT", "PATCH", "TRACE", "BREW")]
    + [("POST", "/health", "GET, HEAD, OPTIONS")],
)
def test_another_method_is_a_405_that_names_the_right_ones(api: System, method: str, path: str, allowed: str) -> None:
    answer = requests.request(method, api.api_url + path, timeout=30)
    assert allowed in refused(answer, 405, "method_not_allowed")["detail"]
    assert answer.headers["Allow"] == allowed


def test_head_answers_like_get_without_a_body(api: System) -> None:
    address = f"/jobs/{api.submit()}"
    for path in ("/livez", "/metrics", address, "/jobs/x"):
        head, get = requests.head(api.api_url + path, timeout=30), api.get(path)
        assert (head.status_code, head.headers["Content-Type"]) == (get.status_code, get.headers["Content-Type"])
        assert head.content == b"" and head.headers["Content-Length"] == get.headers["Content-Length"]
    assert requests.head(api.api_url + "/submit", timeout=30).status_code == 405


def test_options_tells_the_methods_and_invites_no_other_origin(api: System) -> None:
    answer = requests.options(api.api_url + "/submit", headers={"Origin": "https://evil.example"}, timeout=30)
    assert (answer.status_code, answer.content, answer.headers["Allow"]) == (204, b"", "OPTIONS, POST")
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]
    refused(requests.options(api.api_url + "/nowhere", timeout=30), 404, "no_such_route")


# -- below the routes: what waitress refuses

POST = "POST /jobs HTTP/1.1"
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


# -- request ids and the log


@pytest.mark.parametrize("path, status", [("/livez", 200), ("/jobs/x", 404), ("/nowhere", 404), ("/submit", 405)])
def test_a_safe_request_id_comes_back_and_any_other_is_replaced(api: System, path: str, status: int) -> None:
    given = ["trace-1:a.b_C", "", "a" * 129, "a b", "a, b", "é", "<b>"]
    answers = [requests.get(api.api_url + path, headers={"X-Request-ID": text}, timeout=30) for text in given]
    assert [answer.status_code for answer in answers] == [status] * len(given)
    ids = [answer.headers["X-Request-ID"] for answer in answers]
    assert ids[0] == given[0] and all(re.fullmatch("[0-9a-f]{16}", made) for made in ids[1:])
    assert len(set(ids)) == len(ids)


def test_the_request_id_comes_back_from_below_the_routes_too(api: System) -> None:
    assert say(api, head(POST, "X-Request-ID: mine", "Content-Length: x")).headers["X-Request-ID"] == "mine"


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_the_log_has_the_request_id_and_nobody_can_write_lines_into_it(system: System, log_format: str) -> None:
    program = system.api(LOG_FORMAT=log_format)
    forged = "%0a00:00:00.000%20api%20forged%0d%0a%1b[2J%e2%80%a8"
    for path in (f"/jobs/{forged}", f"/{forged}"):
        requests.get(system.api_url + path, headers={"X-Request-ID": "mine"}, timeout=30)
    say(system, head(POST, "X-Request-ID: mine\nforged: x"))
    assert system.post("/jobs", {"payload": "canary-1"}, Authorization="Bearer canary-2").status_code == 201
    send(system, "/jobs", b'{"payload": "canary-1",}')
    eventually(lambda: program.log.count("mine"), equals=2)
    lines = program.log.splitlines()
    assert "canary" not in program.log
    for line in lines:
        assert json.loads(line)["time"] if log_format == "json" else re.match(r"\d\d:\d\d:\d\d\.\d{3} api ", line), line


def test_under_a_flood_only_failures_need_to_be_logged(system: System) -> None:
    program = system.api(LOG_JOBS="failures")
    system.submit()
    refused(system.post("/jobs", {"type": ""}), 422, "invalid_request")
    program.says("status=422")
    assert [line.split("status=")[1][:3] for line in program.log.splitlines() if "api request" in line] == ["422"]


def test_no_password_is_told_to_anybody(system: System) -> None:
    program = system.api(REDIS_URL=system.server.url.replace("//", "//:canary@"))  # a password that Redis does not know
    answers = [system.post("/jobs", JOB), system.get("/jobs/x"), system.get("/metrics"), system.get("/health?verbose")]
    assert {answer.status_code for answer in answers} == {503, 404}
    assert "canary" not in program.log + "".join(answer.text for answer in answers)


# -- idempotency


def test_a_repeated_request_gets_the_same_job(api: System) -> None:
    body = {"payload": {"n": 1}, "delay_s": 1000}
    answers = [api.post("/jobs", body, Idempotency_Key="repeat") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [201, 200, 200]
    assert [answer.headers.get("Idempotent-Replayed") for answer in answers] == [None, "true", "true"]
    assert len({answer.headers["Location"] for answer in answers}) == 1
    assert api.post("/jobs", body, Idempotency_Key="Repeat").status_code == 201  # a key is exact
    elsewhere = api.post("/jobs", {**body, "queue": "other"}, Idempotency_Key="repeat")
    refused(elsewhere, 422, "idempotency_key_reused")  # it belongs to one request, over all queues


@pytest.mark.parametrize(
    "change", [{"payload": 2}, {"priority": 6}, {"type": "noop"}, {"delay_s": 1}, {"timeout_s": 9}]
)
def test_a_key_with_another_body_is_a_422(api: System, change: dict[str, Any]) -> None:
    api.post("/jobs", JOB, Idempotency_Key="reused")
    refused(api.post("/jobs", {**JOB, **change}, Idempotency_Key="reused"), 422, "idempotency_key_reused")


def test_fifty_requests_at_the_same_instant_make_one_job(api: System) -> None:
    before, gate = stored(api), threading.Barrier(50)

    def submit(_: int) -> requests.Response:
        gate.wait(30)
        return api.post("/jobs", JOB, Idempotency_Key="race")

    with ThreadPoolExecutor(50) as threads:
        answers = list(threads.map(submit, range(50)))
    assert sorted(answer.status_code for answer in answers) == [200] * 49 + [201]
    assert len({answer.json()["job_id"] for answer in answers}) == 1
    assert stored(api) == before + 1


@pytest.mark.parametrize("key", ["", "  ", "k" * 256])
def test_an_impossible_key_is_a_422_that_names_the_header(api: System, nothing_stored: None, key: str) -> None:
    for path, body in (("/jobs", b'{"payload":1}'), ("/jobs/batch", b'{"jobs":[{"payload":1}]}')):
        headers = (f"Content-Type: {JSON}", f"Idempotency-Key: {key}", f"Content-Length: {len(body)}")
        answer = say(api, head(f"POST {path} HTTP/1.1", *headers) + body)
        assert pointers(refused(answer, 422, "invalid_request")) == ["/Idempotency-Key"]


def test_the_key_of_a_job_past_its_retention_makes_no_second_job(system: System) -> None:
    system.api()
    job_id = system.post("/jobs", JOB, Idempotency_Key="old").json()["job_id"]
    queue = JobQueue(system.server.url)
    queue.cancel(job_id)
    recover(queue, [], 100, {"cancelled": -1000})
    refused(system.get(f"/jobs/{job_id}"), 404, "job_not_found")
    assert job_id in refused(system.post("/jobs", JOB, Idempotency_Key="old"), 404, "job_not_found")["detail"]
    assert stored(system) == 1


# -- batches


def test_a_batch_is_stored_in_its_order(api: System) -> None:
    answer = api.post("/jobs/batch", {"jobs": [{"payload": n, "queue": f"order{n % 2}"} for n in range(600)]})
    assert answer.status_code == 201 and answer.headers["Content-Type"] == JSON
    results = answer.json()["results"]
    assert [result["job"]["payload"] for result in results] == list(range(600))
    assert {result["status"] for result in results} == {201}
    assert api.job(results[598]["job"]["job_id"])["position"] == 300


def test_one_line_of_ndjson_is_one_job(api: System) -> None:
    answer = send(api, "/jobs/batch", '{"payload": "ü"}\r\n\n  \n{"payload": 2, "type": "noop"}', NDJSON)
    assert answer.status_code == 201
    assert [result["job"]["payload"] for result in answer.json()["results"]] == ["ü", 2]


def test_a_bad_line_of_ndjson_is_named_and_nothing_is_stored(api: System, nothing_stored: None) -> None:
    answer = send(api, "/jobs/batch", '{"payload": 1}\n\n{"payload": 2\n{"payload": 3}', NDJSON)
    assert "job 2" in refused(answer, 400, "not_json")["detail"]
    assert pointers(refused(send(api, "/jobs/batch", "\n \n", NDJSON), 422, "invalid_request")) == ["/jobs"]


def test_wrong_rows_are_refused_one_by_one_and_point_at_themselves(api: System) -> None:
    rows = [JOB, {"payload": 1, "priority": 11, "colour": 1}, JOB, 7, {"payload": "x" * (MIB + 1)}]
    answer = api.post("/jobs/batch", {"jobs": rows})
    results = answer.json()["results"]
    assert (answer.status_code, answer.headers["Content-Type"]) == (207, JSON)
    assert [result["status"] for result in results] == [201, 422, 201, 422, 422]
    assert pointers(results[1]["error"]) == ["/jobs/1/colour", "/jobs/1/priority"]
    assert pointers(results[3]["error"]) == ["/jobs/3"]
    assert pointers(results[4]["error"]) == ["/jobs/4/payload"]


def test_a_batch_of_which_nothing_is_stored_is_an_error(api: System, nothing_stored: None) -> None:
    problem = refused(api.post("/jobs/batch", {"jobs": [{"queue": ""}, {**JOB, "type": ""}]}), 422, "invalid_request")
    assert pointers(problem) == ["/jobs/0/queue", "/jobs/1/type"]


@pytest.mark.parametrize("body", [{}, {"jobs": {}}, {"jobs": None}, {"jobs": [JOB], "more": 1}, {"Jobs": []}])
def test_a_batch_has_jobs_and_nothing_else(api: System, nothing_stored: None, body: Any) -> None:
    assert pointers(refused(api.post("/jobs/batch", body), 422, "invalid_request")) == [""]


def test_a_batch_has_one_to_a_thousand_jobs(api: System) -> None:
    before = stored(api)
    assert pointers(refused(api.post("/jobs/batch", {"jobs": []}), 422, "invalid_request")) == ["/jobs"]
    refused(api.post("/jobs/batch", {"jobs": [JOB] * 1001}), 413, "too_large")
    began = time.monotonic()
    refused(send(api, "/jobs/batch", "1\n" * 4 * MIB, NDJSON), 413, "too_large")
    assert time.monotonic() - began < 5  # to parse all four million lines would take a minute
    assert stored(api) == before
    assert api.post("/jobs/batch", {"jobs": [JOB] * 1000}).status_code == 201


def test_a_repeated_batch_gets_the_same_jobs(api: System) -> None:
    body = {"jobs": [{"payload": n, "queue": f"again{n % 2}"} for n in range(700)]}
    first, second = (api.post("/jobs/batch", body, Idempotency_Key="batch") for _ in range(2))
    assert (first.status_code, second.status_code) == (201, 200)
    assert second.headers["Idempotent-Replayed"] == "true" and "Idempotent-Replayed" not in first.headers
    ids = [[result["job"]["job_id"] for result in answer.json()["results"]] for answer in (first, second)]
    assert ids[0] == ids[1] and len(set(ids[0])) == 700


def test_a_repeated_batch_with_a_wrong_row_is_answered_row_by_row_again(api: System) -> None:
    body = {"jobs": [JOB, {"colour": 1}, JOB]}
    answers = [api.post("/jobs/batch", body, Idempotency_Key="mixed") for _ in range(2)]
    assert [[result["status"] for result in answer.json()["results"]] for answer in answers] == [
        [201, 422, 201],
        [200, 422, 200],
    ]


@pytest.mark.parametrize("changed", [0, 299], ids=["the first job", "the last job"])
def test_a_key_with_another_batch_is_a_422_as_a_whole(api: System, changed: int) -> None:
    jobs = [{"payload": n} for n in range(300)]
    api.post("/jobs/batch", {"jobs": jobs}, Idempotency_Key="other batch")
    before = stored(api)
    jobs[changed] = {"payload": "another"}
    answer = api.post("/jobs/batch", {"jobs": jobs}, Idempotency_Key="other batch")
    refused(answer, 422, "idempotency_key_reused")
    assert stored(api) == before


def test_a_large_batch_takes_no_key_but_its_own(api: System) -> None:
    assert api.post("/jobs/batch", {"jobs": [JOB] * 600}, Idempotency_Key="wide").status_code == 201
    for key in ("wide#1", "wide#2", "wide1"):
        assert api.post("/jobs", {"payload": key}, Idempotency_Key=key).status_code == 201


# -- metrics, health, advice


def test_metrics_count_every_job_once(system: System) -> None:
    system.api()
    queue = JobQueue(system.server.url)
    for n in range(6):
        system.submit(n, max_attempts=2)
    system.submit(delay_s=1000, queue="other")
    queue.cancel(system.submit(queue="other"))
    worker = Worker(queue)
    done, failed, retried, _ = worker.claim(4)
    worker.end("done", done)
    worker.end("failed", failed)
    worker.end("failed", retried, delay_ms=60_000)
    metrics = system.get("/metrics").json()
    counts = {name: value for name, value in metrics.items() if isinstance(value, int) and value}
    assert counts == {
        "total_jobs": 8,
        "queue_length": 2,
        "retry_queue_length": 2,
        "active_jobs": 1,
        "completed_jobs": 1,
        "failed_jobs": 1,
        "dead_letter_jobs": 1,
        "dlq_length": 1,
        "cancelled_jobs": 1,
        "retried_attempts": 1,
    }
    assert metrics["queues"]["other"]["jobs"]["scheduled"] == 1
    system.check()


def test_metrics_of_an_unused_system_are_zero(system: System) -> None:
    system.api()
    metrics = system.get("/metrics").json()
    assert metrics.pop("queues") == {} and set(metrics.values()) == {0}


def test_health_says_in_words_what_endangers_the_jobs(system: System) -> None:
    system.api()
    system.submit()
    assert system.get("/health").json() == {"status": "ok", "version": __version__}
    health = eventually(
        lambda: system.get("/health?verbose").json(), equals=lambda seen: len(seen["warnings"]) == 2
    )  # a reaper is missed only when it had time to tick
    assert health["redis"]["appendonly"] == "yes" and health["queues"] == ["default"]
    worker, reaper = health["warnings"]
    assert "no worker" in worker and "No reaper" in reaper
    system.server.client.config_set("maxmemory-policy", "allkeys-lru")
    system.server.client.config_set("maxmemory", "1gb")
    try:
        assert "may delete jobs" in str(system.get("/health?verbose").json()["warnings"])
    finally:
        system.server.client.config_set("maxmemory", "0")
        system.server.client.config_set("maxmemory-policy", "noeviction")


def test_a_submit_tells_who_is_missing(system: System) -> None:
    def warning(**fields: Any) -> str:
        return str(system.post("/jobs", {"payload": None, **fields}).json().get("warning"))

    system.api()
    assert "no worker" in warning()
    system.worker()
    eventually(warning, equals=lambda text: "no reaper" in text)
    assert "has a handler for the type unknown" in warning(type="unknown")
    system.reaper()
    eventually(warning, equals="None")
    jobs = [{"payload": 1}, {"payload": 1, "type": "unknown"}, {"payload": 1, "queue": "unserved"}]
    warnings = system.post("/jobs/batch", {"jobs": jobs * 5}).json()["warnings"]
    assert len(warnings) == 2 and "type unknown" in warnings[0] and "queue unserved" in warnings[1]


def test_a_submit_is_a_success_even_when_redis_leaves_before_the_advice() -> None:
    assert Advice(JobQueue("redis://127.0.0.1:1", timeout_s=0.1, retries=0), Patience()).on([NewJob()]) == []


# -- Redis is away


def test_without_redis_requests_are_refused_and_later_served_again(own_system: System) -> None:
    own_system.api()
    job_id = own_system.submit(1)
    eventually(lambda: own_system.server.client.info("persistence")["aof_buffer_length"], equals=0)
    own_system.server.kill()
    answer = own_system.post("/jobs", JOB, Idempotency_Key="later")
    assert "127.0.0.1" not in str(refused(answer, 503, "redis_unavailable")) and answer.headers["Retry-After"] == "2"
    for path in (f"/jobs/{job_id}", "/metrics", "/health", "/health?verbose"):
        refused(own_system.get(path), 503, "redis_unavailable")
    refused(own_system.post("/jobs/batch", {"jobs": [JOB]}), 503, "redis_unavailable")
    assert own_system.get("/livez").status_code == 200
    own_system.programs[0].says("Connection refused")
    own_system.server.start()
    assert own_system.get("/health").status_code == 200
    assert own_system.post("/jobs", JOB, Idempotency_Key="later").status_code == 201
    assert own_system.job(job_id)["payload"] == 1
    own_system.check()


def test_an_api_that_starts_before_redis_waits_for_it(own_system: System) -> None:
    own_system.server.kill()
    program = own_system.api()
    program.says("serving without Redis")
    refused(own_system.post("/jobs", JOB), 503, "redis_unavailable")
    own_system.server.start()
    assert own_system.submit()


def test_a_silent_redis_holds_nobody_up(own_system: System) -> None:
    """Stopped, it takes connections and never answers: every request runs into its timeout."""
    own_system.api()
    own_system.server.process.send_signal(signal.SIGSTOP)
    many = {"jobs": [{"payload": 1, "queue": f"q{n}"} for n in range(300)]}
    began = time.monotonic()
    with ThreadPoolExecutor(120) as threads:
        batch = threads.submit(own_system.post, "/jobs/batch", many)
        submits = [threads.submit(own_system.post, "/jobs", JOB, Idempotency_Key="once") for _ in range(100)]
        health, livez = threads.submit(own_system.get, "/health"), threads.submit(own_system.get, "/livez")
        assert livez.result().status_code == 200
        for answer in (batch, health, *submits):
            refused(answer.result(), 503, "redis_unavailable")
    assert time.monotonic() - began < 9  # in turns of 16 threads and 2 s it would be 14
    own_system.server.process.send_signal(signal.SIGCONT)
    eventually(lambda: own_system.post("/jobs", JOB, Idempotency_Key="once").status_code, equals=200)
    assert own_system.get("/health").status_code == 200
    eventually(lambda: own_system.get("/metrics").json().get("total_jobs"), equals=1)
    own_system.check()


def test_redis_may_be_reached_by_a_unix_socket(tmp_path: Path) -> None:
    server = Server("--unixsocket", str(tmp_path / "redis"))
    system = System(server)
    try:
        system.api(REDIS_URL=f"unix://{tmp_path}/redis")
        assert system.job(system.submit("by socket"))["payload"] == "by socket"
    finally:
        system.close(show_logs=True)
        server.close()


def test_a_full_redis_refuses_new_jobs_and_tells_the_old_ones(own_system: System) -> None:
    own_system.api()
    job_id = own_system.submit("x" * 1000)
    own_system.server.client.config_set("maxmemory", "1")
    problem = refused(own_system.post("/jobs", JOB), 503, "redis_unavailable")
    assert problem["detail"].startswith("Redis refused")
    assert own_system.job(job_id)["status"] == "queued"
    own_system.server.client.config_set("maxmemory", "0")
    assert own_system.submit()


def test_a_redis_that_lost_everything_gets_to_know_the_queues_again(system: System) -> None:
    system.api()
    system.submit(queue="a"), system.submit(queue="b")
    system.server.client.flushall()

    def known() -> Any:
        job_id = system.submit(queue="b")
        return JobQueue(system.server.url).queues(), system.get(f"/jobs/{job_id}").status_code

    eventually(known, equals=(["b"], 200))


# -- the process


def test_a_stopping_api_answers_the_request_that_it_has_begun(system: System) -> None:
    program = system.api()
    system.submit()
    system.server.client.client_pause(800, all=False)
    with ThreadPoolExecutor(1) as threads:
        slow = threads.submit(system.post, "/jobs", JOB)
        eventually(lambda: system.server.client.info("clients")["blocked_clients"], equals=1)
        program.signal(signal.SIGTERM)
        assert slow.result().status_code == 201
    assert program.exits() == 0 and "stopped" in program.log and "Traceback" not in program.log


def test_a_stopping_api_reads_what_has_begun_to_its_end_and_takes_nothing_new(system: System) -> None:
    program = system.api()
    whole = (
        head(POST, f"Content-Type: {JSON}", "Content-Length: 13").replace(b"close", b"keep-alive") + b'{"payload":1}'
    )
    with connect(system) as begun, connect(system) as idle:
        idle.sendall(whole)
        assert idle.recv(65536).startswith(b"HTTP/1.1 201")
        begun.sendall(whole[:-5])
        system.get("/livez")
        program.signal(signal.SIGTERM)
        eventually(lambda: is_open(system), equals=False)
        idle.sendall(whole)
        begun.sendall(whole[-5:])
        assert begun.recv(65536).startswith(b"HTTP/1.1 201")
        assert program.exits() == 0 and stored(system) == 2


def test_a_second_signal_hurries(system: System) -> None:
    program = system.api()
    with connect(system) as client:
        client.sendall(head(POST, f"Content-Type: {JSON}", "Content-Length: 13") + b'{"pay')
        system.get("/livez")
        program.signal(signal.SIGTERM)
        eventually(lambda: is_open(system), equals=False)
        program.signal(signal.SIGTERM)
        assert program.exits(within_s=3) == 0


def is_open(system: System) -> bool:
    try:
        connect(system).close()
        return True
    except ConnectionError:  # refused, or reset in the queue of a socket that was just closed
        return False


def test_under_load_an_api_stops_soon_and_answers_what_it_has_stored(system: System) -> None:
    program, answered = system.api(), list[str]()
    system.submit()

    def keep_posting() -> None:
        with requests.Session() as session:
            while True:
                try:
                    answer = session.post(f"{system.api_url}/jobs", json=JOB, timeout=30)
                except requests.RequestException:
                    return
                answered.append(answer.json()["job_id"])

    with ThreadPoolExecutor(40) as threads:
        for _ in range(40):
            threads.submit(keep_posting)
        eventually(lambda: len(answered) > 100)
        began = time.monotonic()
        assert program.stop() == 0
        assert time.monotonic() - began < 4
    assert stored(system) == len(set(answered)) + 1
    assert "Traceback" not in program.log


def test_a_port_in_use_is_one_clear_line(system: System) -> None:
    system.api()
    port = system.api_url.rpartition(":")[2]
    second = system.start("api.py", "--port", port)
    assert second.exits() == 1
    assert [line for line in second.log.splitlines() if "cannot listen" in line] == [
        f"api.py: cannot listen on 127.0.0.1:{port}: Address already in use"
    ]
    assert "Traceback" not in second.log and system.get("/livez").status_code == 200


def test_a_host_that_is_none_is_one_clear_line(system: System) -> None:
    program = system.start("api.py", "--insecure", "--host", "no.such.host.invalid", "--port", str(free_port()))
    assert program.exits() == 1
    assert "cannot listen on no.such.host.invalid" in program.log and "Traceback" not in program.log


TWO_ADDRESSES = """
import socket
resolve = socket.getaddrinfo
def both(host, *more, **named):
    return [found for name in ("127.0.0.1", "127.0.0.2") for found in resolve(name, *more, **named)]
socket.getaddrinfo = both
"""


def test_a_host_of_two_addresses_like_localhost_is_served_and_stopped_on_both(system: System, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(TWO_ADDRESSES)
    port = free_port()
    flags = ("--host", "localhost", "--port", str(port))
    program = system.start("api.py", *flags, PYTHONPATH=f"{tmp_path}:{ROOT}", REDIS_URL=f"unix://{tmp_path}/none")
    program.says("listening")
    for address in ("127.0.0.1", "127.0.0.2"):
        system.api_url = f"http://{address}:{port}"
        refused(say(system, b"GARBAGE\r\n\r\n"), 400, "bad_request")
    assert program.stop() == 0 and "Traceback" not in program.log


def reset(client: socket.socket) -> None:
    """Close like a client that was killed: nothing more is read, RST instead of FIN."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def test_clients_that_hang_up_do_no_harm(system: System) -> None:
    program = system.api()
    job_id = system.submit("x" * 900_000)
    body = b'{"payload": 1}'
    whole = head(POST, f"Content-Type: {JSON}", f"Content-Length: {len(body)}") + body
    for raw in (head(f"GET /jobs/{job_id} HTTP/1.1"), whole, whole[:-3], whole[:20], b"", b"GARBAGE\r\n\r\n"):
        for _ in range(20):
            client = connect(system)
            client.sendall(raw)
            reset(client)
    eventually(lambda: system.get("/metrics").json()["active_jobs"], equals=0)
    assert stored(system) <= 21 and len(system.job(job_id)["payload"]) == 900_000
    assert program.stop() == 0 and "Traceback" not in program.log
    system.check()


def test_two_hundred_idle_clients_lock_nobody_out(api: System) -> None:
    idle = [connect(api) for _ in range(200)]
    for client in idle[::2]:
        client.sendall(b"POST /jobs HTTP/1.1\r\nContent-Length: 100\r\n\r\n{")
    assert api.get("/livez").status_code == 200
    for client in idle:
        client.close()


def test_a_defect_is_a_500_without_its_traceback(system: System) -> None:
    program = system.api()
    job_id = system.submit()
    system.server.client.hset(f"jq:{{default}}:job:{job_id}", "payload", "{broken")
    problem = refused(
        requests.get(f"{system.api_url}/jobs/{job_id}", headers={"X-Request-ID": "mine"}, timeout=30),
        500,
        "internal_error",
    )
    assert problem["detail"] == "something went wrong here; the log has the request id"
    program.says("a request went wrong request_id=mine\nTraceback")


def test_no_body_makes_the_api_stumble(api: System) -> None:
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
        max_examples=150,
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
