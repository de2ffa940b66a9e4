"""Answers that wait for the end of a job, and the place of a job that waits."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from jobqueue import JobQueue
from tests.answers import invalid, refused
from tests.harness import System, eventually
from tests.http.operating import listed, operate
from tests.played import Worker


def test_a_long_poll_answers_as_soon_as_the_job_has_ended(system: System, jobs: JobQueue, hand: Worker) -> None:
    job_id = system.submit()
    (claimed,) = hand.claim()
    with ThreadPoolExecutor(1) as pool:
        began = time.monotonic()
        answer = pool.submit(system.get, f"/jobs/{job_id}?wait_s=20")
        eventually(lambda: system.get(f"/jobs/{job_id}").json()["status"], equals="processing")
        hand.end("done", claimed)
        job = answer.result(30).json()
    assert (job["status"], job["result"]) == ("done", "a result")
    assert time.monotonic() - began < 10
    assert system.get(f"/jobs/{job_id}?wait_s=20").json()["status"] == "done"


def test_a_long_poll_answers_at_its_deadline(system: System, jobs: JobQueue) -> None:
    job_id = system.submit()
    began = time.monotonic()
    assert system.get(f"/jobs/{job_id}?wait_s=0.5").json()["status"] == "queued"
    assert 0.4 < time.monotonic() - began < 10
    for wrong in ("-1", "21", "x", "", "nan", "inf", "1e999"):
        assert invalid(system.get(f"/jobs/{job_id}?wait_s={wrong}")) == ["/wait_s"], wrong
    refused(system.get("/jobs/x?wait_s=20"), 404, "job_not_found")


def test_long_polls_leave_threads_for_everybody_else(system: System) -> None:
    system.api(API_THREADS="4", API_WAITERS="10")
    job_id = system.submit()
    with ThreadPoolExecutor(12) as pool:
        answers = [pool.submit(system.get, f"/jobs/{job_id}?wait_s=20") for _ in range(12)]
        eventually(lambda: sum(answer.done() for answer in answers), equals=2)  # so many more than may wait
        began = time.monotonic()
        assert system.get("/livez").status_code == 200
        assert system.post("/jobs", {"payload": 1}).status_code == 201
        assert time.monotonic() - began < 3
        assert operate(system, "cancel", job_id).status_code == 200
        assert [answer.result(30).json()["status"] for answer in answers].count("cancelled") >= 10
        assert time.monotonic() - began < 10


def test_a_deleted_job_ends_a_long_poll_with_a_404(system: System, jobs: JobQueue) -> None:
    job_id = system.submit()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(system.get, f"/jobs/{job_id}?wait_s=20")
        jobs.delete(job_id)
        refused(answer.result(30), 404, "job_not_found")


def test_a_queued_job_knows_its_place(system: System, jobs: JobQueue, hand: Worker) -> None:
    low, normal = system.submit(priority="low"), system.submit()
    high = system.post("/jobs", {"payload": 1, "priority": "high"}).json()
    assert high["position"] == 1
    places = {job_id: system.job(job_id)["position"] for job_id in (high["job_id"], normal, low)}
    assert list(places.values()) == [1, 2, 3]
    assert [job["position"] for job in listed(system, "status=queued")["jobs"]] == [1, 2, 3]
    hand.claim()
    assert [system.job(job_id)["position"] for job_id in places] == [None, 1, 2]
