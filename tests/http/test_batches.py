"""Batches, and requests that are sent again under their key."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from jobqueue import JobQueue
from tests.answers import pointers, refused
from tests.harness import System
from tests.http.talking import JOB, JSON, MIB, NDJSON, head, say, send, stored
from tests.played import recover

# ------------------------------------------------------------------------------------------------------------ idempotency


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


# ---------------------------------------------------------------------------------------------------------------- batches


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
