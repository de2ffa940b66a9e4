"""The HTTP contract, by a real API process on a real Redis: what is taken, what is refused, and in which words."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import requests

from _jobqueue.web.diagnosis import Advice, Patience
from jobqueue import JobQueue, NewJob, __version__
from tests.answers import pointers, refused
from tests.harness import System, eventually
from tests.http.talking import JOB, JSON, MIB, POST, head, say, send, stored
from tests.played import Worker

# ---------------------------------------------------------------------------------------------------------------- one job


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


# --------------------------------------------------------------------------------------- refused: nothing of it is stored


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


# -------------------------------------------------------------------------------------------------- addresses and methods


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


# ------------------------------------------------------------------------------------------------ request ids and the log


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


# ------------------------------------------------------------------------------------------------ metrics, health, advice


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


@pytest.mark.long(8)
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
