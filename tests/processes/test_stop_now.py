"""Stop now: a running handler is interrupted as at its timeout, wherever it is."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from jobqueue import JobQueue
from tests.harness import System, eventually


def start(system: System, queue: JobQueue, job_type: str, payload: object = None, *flags: str) -> str:
    system.worker("--handlers", "tests.odd_handlers", "--threads", "2", *flags)
    job_id = queue.submit(job_type, payload, timeout_s=600, max_attempts=3).id
    eventually(lambda: queue.get(job_id).status, equals="processing")
    return job_id


def test_a_loop_without_an_end_is_interrupted(system: System, queue: JobQueue) -> None:
    job_id = start(system, queue, "spin")
    assert queue.cancel(job_id) == "asked"
    asked = queue.get(job_id).cancel_requested_ms
    assert queue.cancel(job_id, force=True) == "stopped"
    eventually(lambda: queue.get(job_id).status, equals="cancelled", within_s=10)
    job = queue.get(job_id)
    assert job.cancel_requested_ms == asked and job.attempts == 1
    assert [error["kind"] for error in job.errors] == ["cancelled"]
    assert queue.check("default") == []


def test_one_that_does_not_yield_gives_its_place_to_a_new_thread(
    system: System, queue: JobQueue, tmp_path: Path
) -> None:
    job_id = start(system, queue, "sleep", 600)
    assert queue.cancel(job_id, force=True) == "stopped"
    eventually(lambda: queue.get(job_id).status, equals="cancelled", within_s=10)
    system.programs[0].says("a handler does not yield when it is stopped")
    others = [queue.submit("hold", {"gate": str(tmp_path / "gate")}).id for _ in range(2)]
    eventually(lambda: {queue.get(other).status for other in others}, equals={"processing"}, within_s=10)
    (tmp_path / "gate").touch()
    for other in others:
        eventually(lambda other=other: queue.get(other).status, equals="done", within_s=10)


@pytest.mark.long(3)
def test_asking_alone_interrupts_nobody(system: System, queue: JobQueue) -> None:
    job_id = start(system, queue, "spin")
    queue.cancel(job_id)
    began = time.monotonic()
    eventually(lambda: time.monotonic() - began > 3)
    assert queue.get(job_id).status == "processing"


def test_a_job_that_waits_is_cancelled_as_ever(queue: JobQueue) -> None:
    job_id = queue.submit().id
    assert queue.cancel(job_id, force=True) == "cancelled"


def test_a_stop_is_of_one_attempt(system: System, queue: JobQueue, tmp_path: Path) -> None:
    """Retried, the job runs as if nobody had stopped it."""
    payload = {"gate": str(tmp_path / "gate")}
    job_id = start(system, queue, "hold", payload)
    queue.cancel(job_id, force=True)
    eventually(lambda: queue.get(job_id).status, equals="cancelled", within_s=10)
    queue.retry(job_id)
    eventually(lambda: queue.get(job_id).status, equals="processing")
    queue.cancel(job_id)
    began = time.monotonic()
    eventually(lambda: time.monotonic() - began > 2)
    assert queue.get(job_id).status == "processing"
    (tmp_path / "gate").touch()
    eventually(lambda: queue.get(job_id).status, equals="done")


def test_over_http_it_is_202_and_a_step(system: System, queue: JobQueue) -> None:
    system.api()
    job_id = start(system, queue, "spin")
    answer = system.post(f"/jobs/{job_id}/cancel", {"force": True})
    assert answer.status_code == 202
    assert [step["action"] for step in answer.json()["actions"]] == ["cancel", "stop"]
    assert answer.json()["cancel_requested_at"]
    system.ends(job_id, "cancelled", within_s=10)
    assert system.post(f"/jobs/{job_id}/cancel", {"force": "yes"}).status_code == 422
