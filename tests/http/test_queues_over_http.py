"""Queues over HTTP: how many there may be, and how one is deleted."""

from __future__ import annotations

import requests

from jobqueue import JobQueue
from tests.harness import System


def delete(system: System, path: str, **headers: str) -> requests.Response:
    return requests.delete(system.api_url + path, headers=headers, timeout=30)


def test_empty_queue_is_deleted_and_one_with_jobs_is_not(system: System) -> None:
    system.api()
    job = system.submit(queue="mail")
    refused = delete(system, "/queues/mail")
    assert (refused.status_code, refused.json()["code"]) == (409, "queue_not_empty")
    assert "holds 1 job" in refused.json()["detail"]
    assert delete(system, f"/jobs/{job}").status_code == 204
    assert delete(system, "/queues/mail").status_code == 204
    assert system.get("/queues").json() == {"queues": []}
    assert system.get("/stats").json()["queues"] == []
    gone = delete(system, "/queues/mail")
    assert (gone.status_code, gone.json()["code"]) == (404, "job_not_found")
    assert system.job(system.submit(queue="mail"))["queue"] == "mail"


def test_deleting_a_queue_takes_the_right_to_operate(system: System) -> None:
    from _jobqueue.keys import new_key

    key, entry = new_key("s", "submit")
    system.api(API_KEYS=entry)
    assert delete(system, "/queues/mail", Authorization=f"Bearer {key}").status_code == 403


def test_new_queue_above_the_limit_is_refused(system: System) -> None:
    system.api(QUEUES_MAX="2")
    system.submit(queue="one"), system.submit(queue="two")
    refused = system.post("/jobs", {"queue": "three", "payload": 0})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/queue")
    batch = system.post("/jobs/batch", {"jobs": [{"queue": name, "payload": 0} for name in ("one", "three")]})
    assert [row["status"] for row in batch.json()["results"]] == [201, 422]
    assert JobQueue(system.url).queues() == ["one", "two"]
    assert system.post("/jobs", {"queue": "two", "payload": 0}).status_code == 201
