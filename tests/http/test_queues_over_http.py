"""Queues over HTTP: how many there may be, and how one is deleted."""

from __future__ import annotations

import requests

from jobqueue import JobQueue
from tests.harness import Server, System, eventually


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
    assert (gone.status_code, gone.json()["code"]) == (404, "queue_not_found")
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


def test_type_is_paused_and_resumed(system: System) -> None:
    system.api()
    system.worker()
    paused = system.post("/queues/mail/types/echo/pause")
    assert paused.status_code == 404
    first = system.submit(type="noop")
    assert system.ends(first)["attempts"] == 1
    paused = system.post("/queues/default/types/noop/pause")
    assert (paused.status_code, paused.json()["paused_types"]) == (200, ["noop"])
    waits, runs = system.submit(type="noop"), system.submit(type="email.send")
    assert system.ends(runs)["attempts"] == 1
    told = system.get(f"/jobs/{waits}/explain").json()
    assert told["code"] == "paused" and "the type noop is paused" in told["explanation"]
    health = system.get("/stats").json()["health"]
    assert "paused:default:noop" in [finding["id"] for finding in health]
    assert system.post("/queues/default/types/noop/resume").json()["paused_types"] == []
    assert system.ends(waits)["attempts"] == 1
    assert system.post("/queues/default/types/no%20name/pause").status_code == 422


def test_job_that_nobody_handles_waits_and_says_so(system: System, server: Server) -> None:
    system.worker()
    eventually(lambda: server.client.exists("jq:{default}:kits"))
    system.api()
    answer = system.post("/jobs", {"type": "nobody.does.it", "priority": "high"})
    assert "its jobs wait until one is started" in answer.json()["warning"]
    system.ends(system.submit(type="noop"))
    told = system.get(f"/jobs/{answer.json()['job_id']}/explain").json()
    assert (told["code"], told["job"]["position"], told["job"]["attempts"]) == ("no_handler", 1, 0)
    assert "no_handler:default:nobody.does.it" in [each["id"] for each in system.get("/stats").json()["health"]]


def test_thousand_and_first_type_that_nobody_handles_is_refused(system: System) -> None:
    system.api()
    for start in (0, 500):
        rows = [{"type": f"t{n}", "payload": 0} for n in range(start, start + 500)]
        assert system.post("/jobs/batch", {"jobs": rows}).status_code == 201
    refused = system.post("/jobs", {"type": "one.more", "payload": 0})
    assert (refused.status_code, refused.json()["code"]) == (422, "too_many_types")
