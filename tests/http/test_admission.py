"""Admission over HTTP: a queue in which only so many jobs may wait."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

import pytest
import requests

from jobqueue import Invalid, JobQueue, NewJob, QueueFull
from tests.harness import System
from tests.played import Worker, tick


@pytest.fixture
def system(system: System) -> System:
    system.api()
    return system


def limit(system: System, most: Any, queue: str = "default", **headers: str) -> requests.Response:
    return requests.put(f"{system.api_url}/queues/{queue}", json={"max_queued": most}, headers=headers, timeout=30)


def waiting(system: System, queue: str = "default") -> int:
    return JobQueue(system.url).books(queue).waiting


def test_submit_to_a_full_queue_is_429_and_says_when_to_come_back(system: System) -> None:
    answer = limit(system, 2)
    assert (answer.status_code, answer.json()["max_queued"]) == (200, 2)
    assert limit(system, 2.0).json()["max_queued"] == 2 and limit(system, 2.5).status_code == 422
    system.submit(), system.submit(delay_s=60)
    full = system.post("/jobs", {"payload": 1})
    assert (full.status_code, full.json()["code"], full.headers["Retry-After"]) == (429, "queue_full", "300")
    assert full.json()["detail"] == (
        "2 jobs wait in the queue default, and 2 may (max_queued): there may be room in 300 s"
    )
    assert waiting(system) == 2
    assert limit(system, None).json()["max_queued"] is None
    assert system.post("/jobs", {"payload": 1}).status_code == 201


def test_time_to_come_back_follows_from_how_fast_jobs_end(system: System, queue: JobQueue, worker: Worker) -> None:
    for _ in range(60):
        system.submit()
    for _ in range(50):
        worker.give("done")
    limit(system, 10)
    full = system.post("/jobs", {"payload": 1})
    assert full.status_code == 429 and 1 <= int(full.headers["Retry-After"]) <= 3  # 50 in at most 2 min
    batch = system.post("/jobs/batch", {"jobs": [{"payload": 1}] * 10})
    assert batch.status_code == 429 and int(full.headers["Retry-After"]) < int(batch.headers["Retry-After"]) <= 30


def test_batch_is_stored_whole_or_not_at_all_in_each_queue(system: System) -> None:
    limit(system, 3), limit(system, 600, "large")
    jobs = [{"queue": queue, "payload": n} for n in range(2) for queue in ("default", "other")]
    assert system.post("/jobs/batch", {"jobs": jobs}).status_code == 201
    mixed = system.post("/jobs/batch", {"jobs": jobs})
    assert mixed.status_code == 207
    assert [row["status"] for row in mixed.json()["results"]] == [429, 201, 429, 201]
    assert mixed.json()["results"][0]["error"]["code"] == "queue_full"
    assert (waiting(system), waiting(system, "other")) == (2, 4)
    many = [{"queue": "large", "payload": n} for n in range(500)]
    assert system.post("/jobs/batch", {"jobs": many}).status_code == 201
    assert system.post("/jobs/batch", {"jobs": many}).status_code == 429
    assert waiting(system, "large") == 500
    assert system.post("/jobs/batch", {"jobs": many[:100]}).status_code == 201


def test_batch_that_never_fits_is_422(system: System) -> None:
    limit(system, 3)
    refused = system.post("/jobs/batch", {"jobs": [{"payload": 1}] * 4})
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request")
    assert "4 jobs at once never fit" in refused.json()["detail"]


def test_workflow_is_admitted_as_a_whole(system: System) -> None:
    limit(system, 3)
    flow = [{"payload": 1}, {"payload": 2, "after": ["*"]}]
    assert system.post("/jobs/batch", {"jobs": flow}).status_code == 201
    assert system.post("/jobs/batch", {"jobs": flow}).status_code == 429
    assert waiting(system) == 2


def test_repeats_and_unique_keys_are_answered_before_admission(system: System) -> None:
    body = {"payload": 1, "unique_key": "one"}
    first = system.post("/jobs", body, **{"Idempotency-Key": "k"})
    limit(system, 1)
    again = system.post("/jobs", body, **{"Idempotency-Key": "k"})
    other = system.post("/jobs", body)
    assert (again.status_code, other.status_code) == (200, 200)
    assert first.json()["job_id"] == again.json()["job_id"] == other.json()["job_id"]
    assert system.post("/jobs", {"payload": 1}).status_code == 429
    wrong = system.post("/jobs", {"payload": 1, "priority": 99})
    assert wrong.status_code == 422


def test_a_refused_request_may_be_repeated_under_its_key(system: System, worker: Worker) -> None:
    limit(system, 1)
    system.submit()
    full = system.post("/jobs", {"payload": 1}, **{"Idempotency-Key": "k"})
    assert full.status_code == 429
    worker.give("done")
    assert system.post("/jobs", {"payload": 1}, **{"Idempotency-Key": "k"}).status_code == 201


def test_what_waits_already_does_not_wait_for_room(system: System, queue: JobQueue, worker: Worker) -> None:
    retried, released = queue.submit("echo"), queue.submit("echo", max_attempts=3)
    dead = worker.give("failed")
    assert dead == [retried.id]
    claimed = worker.claim()
    limit(system, 0)
    queue.retry(dead[0])
    worker.end("failed", delay_ms=0)
    tick(queue)
    assert {queue.get(job_id).status for job_id in (retried.id, released.id)} == {"queued"}
    assert claimed[0].id == released.id and waiting(system) == 2


def test_due_time_that_meets_a_full_queue_is_missed(system: System, queue: JobQueue) -> None:
    put = requests.put(
        f"{system.api_url}/queues/default/schedules/often", json={"every_s": 3600, "payload": 1}, timeout=30
    )
    assert put.status_code == 201, put.text
    limit(system, 0)
    queue.store.ask("ZADD", "jq:{default}:schedules", queue.books("default").now_ms - 1, "often")
    queue.schedules.fire("default", 10, lambda name, error: None)
    schedule = queue.schedules.get("default", "often")
    assert (schedule.counts["missed"], schedule.last_outcome, waiting(system)) == (1, "missed", 0)
    run = system.post("/queues/default/schedules/often/run")
    assert (run.status_code, run.json()["code"]) == (429, "queue_full")
    limit(system, 1)
    assert system.post("/queues/default/schedules/often/run").status_code in (200, 201)


def test_what_is_full_is_shown(system: System) -> None:
    system.submit()
    limit(system, 1)
    assert [system.post("/jobs", {"payload": 1}).status_code for _ in range(3)] == [429] * 3
    [row] = system.get("/stats").json()["queues"]
    assert (row["max_queued"], row["totals"]["turned_away"]) == (1, 3)
    [finding] = [each for each in system.get("/stats").json()["health"] if each["code"] == "queue_full"]
    assert finding["text"] == (
        "Queue default is full: 1 of 1 jobs wait (max_queued), and 3 were turned away in the last minutes: start more "
        "workers (python worker.py --queues default), or raise it."
    )
    text = system.get("/metrics?format=prometheus").text
    assert 'jobqueue_queue_max_queued{queue="default"} 1\n' in text
    assert 'jobqueue_jobs_turned_away_total{queue="default"} 3\n' in text
    limit(system, None)
    assert "jobqueue_queue_max_queued{" not in system.get("/metrics?format=prometheus").text


@pytest.mark.parametrize(
    "body", [{}, {"max_queued": -1}, {"max_queued": 1.5}, {"max_queued": "9"}, {"max_queued": True}, {"n": 1}, []]
)
def test_what_is_no_limit_is_422(system: System, body: Any) -> None:
    answer = requests.put(f"{system.api_url}/queues/default", json=body, timeout=30)
    assert answer.status_code == 422, answer.text
    assert JobQueue(system.url).queues() == []


def test_limit_may_be_set_before_the_queue_is_used_and_goes_with_it(system: System, queue: JobQueue) -> None:
    assert limit(system, 0, "new").status_code == 200
    with pytest.raises(QueueFull) as full:
        queue.submit("echo", queue="new")
    assert full.value.retry_after_s == 300
    queue.delete_queue("new")
    assert queue.submit("echo", queue="new").status == "queued"
    with pytest.raises(Invalid):
        queue.limit_waiting("new", -5)
    assert limit(system, 1, "no{name").status_code in (404, 422)


def test_limiting_takes_the_right_to_operate(own_system: System) -> None:
    from _jobqueue.keys import new_key

    key, entry = new_key("s", "submit")
    own_system.api(API_KEYS=entry)
    assert limit(own_system, 1, Authorization=f"Bearer {key}").status_code == 403


def test_many_processes_never_exceed_it(system: System, queue: JobQueue) -> None:
    """Two API processes and eight threads each: single jobs and batches of several scripts."""
    limit(system, 1500)
    first = system.api_url
    system.api()
    urls, said = [first, system.api_url], Counter[int]()
    seen: list[int] = []

    def submits(number: int) -> None:
        session = requests.Session()
        for turn in range(4):
            for n in (1, 300, 20, 260):
                jobs = [{"payload": n}] * n
                said[
                    session.post(f"{urls[(number + turn) % 2]}/jobs/batch", json={"jobs": jobs}, timeout=60).status_code
                ] += 1
                seen.append(queue.books("default").waiting)

    threads = [threading.Thread(target=submits, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(seen) <= 1500 and said.keys() == {201, 429}
    assert 1500 - 260 < queue.books("default").waiting <= 1500
    assert queue.check("default") == []
    for place in range(1500 - queue.books("default").waiting):
        assert queue.submit_one(NewJob(payload=place)).job
    with pytest.raises(QueueFull):
        queue.submit("echo")
