"""What HTTP says of webhooks: what it refuses, a job's deliveries, what is wrong with them."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest
import requests

from _jobqueue.records import DELIVERY
from jobqueue import JobQueue
from tests.harness import Server, System
from tests.played import Worker, tick

URL = "https://hooks.example.org/jobs"
SECRETS = {"WEBHOOK_SECRETS": "whsec_" + b64encode(b"x" * 32).decode()}


@pytest.fixture
def on(system: System) -> System:
    system.api(**SECRETS)
    return system


def codes(answer: Any) -> tuple[int, str, list[str]]:
    body = answer.json()
    return answer.status_code, body["code"], [each["pointer"] for each in body["errors"]]


def test_without_secrets_it_is_off(api: System) -> None:
    assert codes(api.post("/jobs", {"webhook": URL})) == (422, "webhooks_off", ["/webhook"])
    schedule = {"every_s": 60, "webhook": URL}
    answer = requests.put(f"{api.api_url}/queues/q/schedules/s", json=schedule, timeout=30)
    assert codes(answer) == (422, "webhooks_off", ["/webhook"])
    answer = api.post("/jobs/batch", {"jobs": [{"webhook": URL}, {}]})
    assert [each["status"] for each in answer.json()["results"]] == [422, 201]
    assert answer.json()["results"][0]["error"]["code"] == "webhooks_off"


def test_wrong_addresses_and_reserved_types_are_refused_by_pointer(on: System) -> None:
    for webhook in ("http://hooks.example.org/", "https://u:p@h/", "", 7, "https://h/" + "x" * 2000):
        assert codes(on.post("/jobs", {"webhook": webhook})) == (422, "invalid_request", ["/webhook"])
    assert codes(on.post("/jobs", {"type": DELIVERY})) == (422, "invalid_request", ["/type"])
    assert codes(on.post("/jobs", {"webhook": None})) == (422, "invalid_request", ["/webhook"])
    batch = {"jobs": [{"name": "a", "webhook": "x"}, {"after": ["a"]}]}
    assert codes(on.post("/jobs/batch", batch)) == (422, "invalid_request", ["/jobs/0/webhook"])


def test_deliveries_of_a_job(on: System, server: Server) -> None:
    jobs = JobQueue(on.url)
    worker = Worker(jobs).handles("echo")
    job_id = on.submit(webhook=URL)
    assert on.job(job_id)["webhook"] == URL
    assert on.get(f"/jobs/{job_id}/deliveries").json() == {"deliveries": []}
    for _ in range(2):
        worker.give("failed")
        jobs.retry(job_id)
    shown = on.get(f"/jobs/{job_id}/deliveries").json()["deliveries"]
    assert [(each["payload"]["n"], each["payload"]["status"], each["status"]) for each in shown] == [
        (2, "failed", "queued"),
        (1, "failed", "queued"),
    ]
    assert on.get(f"/jobs/{shown[0]['job_id']}/deliveries").json() == {"deliveries": []}
    assert on.get("/jobs/x/deliveries").status_code == 404
    assert [each["job_id"] for each in on.get(f"/jobs/{job_id}/flow").json()["jobs"]] == [job_id]
    assert list(on.get(f"/jobs/{shown[0]['job_id']}/parents").json()) == [job_id]


def test_what_is_wrong_with_them_is_said(on: System) -> None:
    jobs = JobQueue(on.url)
    worker = Worker(jobs).handles("echo")
    answer = on.post("/jobs", {"webhook": URL}).json()
    assert "WEBHOOK_SECRETS" in answer["warning"]
    worker.give("done")
    tick(jobs)
    [delivery] = on.get(f"/jobs/{answer['job_id']}/deliveries").json()["deliveries"]
    said = on.get(f"/jobs/{delivery['job_id']}/explain").json()
    assert said["code"] == "no_handler" and "delivers webhooks" in said["explanation"]
    found = [each["text"] for each in on.get("/stats").json()["health"] if each["code"] == "no_handler"]
    assert len(found) == 1 and "delivers webhooks" in found[0]
    hooks = Worker(jobs, "hooks").handles(DELIVERY, "echo")
    hooks.give("failed")
    [found] = [each for each in on.get("/stats").json()["health"] if each["code"] == "webhooks"]
    assert "1 webhook was given up" in found["text"]


def test_they_count_in_no_total_of_the_first_names(on: System) -> None:
    jobs = JobQueue(on.url)
    worker, hooks = Worker(jobs).handles("echo"), Worker(jobs, "hooks").handles(DELIVERY, "echo")

    def counts() -> dict[str, int]:
        return {name: n for name, n in on.get("/metrics").json().items() if name != "queues"}

    for outcome in ("done", "failed", "failed", "cancelled"):
        on.submit(webhook=URL)
        worker.give(outcome)
    before = counts()
    assert (before["total_jobs"], before["queue_length"], before["completed_jobs"]) == (4, 0, 1)
    hooks.claim()
    assert counts() == before
    hooks.end("done")
    assert counts() == before
    hooks.give("failed")
    hooks.claim()
    hooks.end("failed", delay_ms=60_000)
    assert counts() == before | {"retried_attempts": 1}
    text = on.get("/metrics?format=prometheus").text
    told = [line for line in text.splitlines() if line.startswith("jobqueue_webhooks{")]
    assert [line.split()[-1] for line in told] == ["0", "1", "1", "1"]
