"""Jobs that must start within some time, and snoozed ones, as the API shows and explains them."""

from __future__ import annotations

import pytest
import requests

from jobqueue import JobQueue
from tests.answers import invalid
from tests.harness import Server, System
from tests.played import Q, Worker, now_ms, tick


def test_the_time_is_taken_shown_and_explained(system: System, jobs: JobQueue, server: Server) -> None:
    answer = system.post("/jobs", {"expires_s": 60})
    assert answer.status_code == 201
    job = answer.json()
    assert job["expires_s"] == 60 and job["expires_at"] > job["created_at"]
    said = system.get(f"/jobs/{job['job_id']}/explain").json()
    assert f"If it has not started by {job['expires_at']}, in 60 s, it is cancelled." in said["explanation"]
    server.client.zadd(f"{Q}expires", {job["job_id"]: now_ms(server) - 1})
    tick(jobs)
    said = system.get(f"/jobs/{job['job_id']}/explain").json()
    assert said["code"] == "cancelled" and "it had not started within 60 s" in said["explanation"]
    assert (said["job"]["errors"][0]["kind"], said["job"]["expires_at"]) == ("expired", None)
    metrics = requests.get(f"{system.api_url}/metrics", headers={"Accept": "text/plain"}, timeout=30).text
    assert 'jobqueue_jobs_expired_total{queue="default"} 1' in metrics


def test_a_blocked_job_tells_that_its_time_is_still_to_come(system: System, jobs: JobQueue) -> None:
    rows = [{"name": "first"}, {"after": ["first"], "expires_s": 60}]
    child = system.post("/jobs/batch", {"jobs": rows}).json()["results"][1]["job"]
    assert child["expires_at"] is None
    said = system.get(f"/jobs/{child['job_id']}/explain").json()["explanation"]
    assert said.endswith("When it goes on, it must start within 60 s, or is cancelled.")


@pytest.mark.parametrize("fields", [{"expires_s": 0}, {"expires_s": "1"}, {"expires_s": 5, "delay_s": 5}])
def test_what_cannot_be_is_refused_with_a_pointer(fields: dict[str, object], system: System, jobs: JobQueue) -> None:
    assert invalid(system.post("/jobs", fields)) == ["/expires_s"]


def test_a_schedules_jobs_may_expire(system: System, jobs: JobQueue, server: Server) -> None:
    body = {"every_s": 3600, "type": "noop", "expires_s": 30}
    answer = requests.put(f"{system.api_url}/queues/default/schedules/now", json=body, timeout=30)
    assert answer.json()["expires_s"] == 30
    job = system.post("/queues/default/schedules/now/run").json()
    assert jobs.get(job["job_id"]).expires_ms == 30_000
    assert server.client.zcard(f"{Q}expires") == 1


def test_a_snoozed_job_says_so(system: System, jobs: JobQueue, hand: Worker) -> None:
    job_id = system.submit()
    for times in ("", " (2 times so far)"):
        hand.claim()
        hand.end("snoozed", delay_ms=60_000)
        said = system.get(f"/jobs/{job_id}/explain").json()
        assert said["code"] == "snoozed" and said["explanation"].startswith(f"Its handler has put it off{times}: it is")
        jobs.run_now(job_id)
    assert (said["job"]["snoozes"], said["job"]["attempts"]) == (2, 0)
    hand.claim()
    hand.end("failed", delay_ms=60_000)
    assert system.get(f"/jobs/{job_id}/explain").json()["code"] == "backoff"
