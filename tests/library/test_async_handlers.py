"""``async def`` handlers in a worker: one event loop, in a thread of its own."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from jobqueue import Job, JobQueue
from tests.harness import Program, System, eventually

ENDED = ("done", "failed", "cancelled")


@pytest.fixture
def odd(system: System) -> Callable[..., Program]:
    def start(*flags: str, **environment: str) -> Program:
        return system.worker("--handlers", "tests.odd_handlers", *flags, **{"BACKOFF_S": "0"} | environment)

    return start


def ended(queue: JobQueue, job: Job) -> Job:
    return queue.wait(job.id, 30)


def kinds(job: Job) -> list[str]:
    return [error["kind"] for error in job.errors]


def test_they_run_side_by_side_on_one_loop(odd: Callable[..., Program], queue: JobQueue) -> None:
    worker = odd("--threads", "4")
    jobs = [queue.submit("meet", 4) for _ in range(4)]
    assert [ended(queue, job).result for job in jobs] == [4] * 4
    slept = ended(queue, queue.submit("await", 0.01))
    assert (slept.result, slept.log) == ("event loop", ["goes to sleep", "woke up"])
    assert worker.stop() == 0


def test_a_timeout_cancels_the_task_and_waits_until_it_has_tidied_up(
    odd: Callable[..., Program], queue: JobQueue, tmp_path: Path
) -> None:
    worker = odd("--threads", "1")
    job = queue.submit("await.tidily", {"gate": str(tmp_path / "gate")}, timeout_s=0.3, max_attempts=1)
    assert kinds(ended(queue, job)) == ["timeout"]
    assert (tmp_path / "gate").exists()
    assert ended(queue, queue.submit("say", "hello")).result == "hello"
    assert "does not yield" not in worker.log


def test_a_cancel_cancels_the_task(odd: Callable[..., Program], queue: JobQueue, tmp_path: Path) -> None:
    odd(PROCESSING_TIMEOUT_S="2")  # a beat each 0.2 s
    job = queue.submit("await.tidily", {"gate": str(tmp_path / "gate")})
    eventually(lambda: (tmp_path / "gate.starts").exists())
    assert queue.cancel(job.id) == "asked"
    job = ended(queue, job)
    assert (job.status, kinds(job)) == ("cancelled", ["cancelled"])
    assert (tmp_path / "gate").exists()


def test_a_task_that_will_not_be_cancelled_loses_its_job_and_its_place_goes_to_a_new_slot(
    odd: Callable[..., Program], queue: JobQueue, tmp_path: Path
) -> None:
    worker = odd("--threads", "2")
    gate = tmp_path / "gate"
    job = queue.submit("await.stubborn", {"gate": str(gate)}, timeout_s=0.2, max_attempts=1)
    assert kinds(ended(queue, job)) == ["timeout"]
    worker.says("does not yield")
    assert [ended(queue, queue.submit("await", 0)).status for _ in range(4)] == ["done"] * 4
    gate.touch()
    worker.says("a handler that hung has ended; its result is dropped")
    assert worker.stop() == 0


def test_one_that_blocks_the_loop_ends_the_worker_for_its_supervisor(
    odd: Callable[..., Program], queue: JobQueue
) -> None:
    worker = odd("--threads", "4")
    job = queue.submit("block.loop", 600)
    assert worker.exits() == 1
    assert "an async handler blocks the event loop" in worker.log
    assert kinds(queue.get(job.id)) == ["timeout"]


@pytest.mark.parametrize("what", ["sys.exit", "KeyboardInterrupt", "OfItsOwn", "StopIteration", "Mute", "MuteFail"])
def test_whatever_it_raises_fails_its_attempt_and_the_loop_lives(
    odd: Callable[..., Program], queue: JobQueue, what: str
) -> None:
    worker = odd("--threads", "1")
    job = ended(queue, queue.submit("await.raise", what, max_attempts=1))
    expected = {"sys.exit": "SystemExit", "MuteFail": "bad_result", "StopIteration": "RuntimeError"}
    assert kinds(job) == [expected.get(what, what)]
    assert ended(queue, queue.submit("await", 0)).status == "done"
    assert "went wrong" not in worker.log


def test_its_log_lines_name_its_job(odd: Callable[..., Program], queue: JobQueue) -> None:
    worker = odd(LOG_FORMAT="json")
    job = ended(queue, queue.submit("await.raise", "MemoryError", max_attempts=1))
    worker.says("a line of a task")
    [line] = [json.loads(line) for line in worker.log.splitlines() if "a line of a task" in line]
    assert (line["job"], line["type"], line["attempt"], line["order"]) == (job.id, "await.raise", 1, "MemoryError")


def test_a_worker_that_is_told_to_stop_lets_it_finish(
    odd: Callable[..., Program], queue: JobQueue, tmp_path: Path
) -> None:
    worker, gate = odd(), tmp_path / "gate"
    job = queue.submit("await.stubborn", {"gate": str(gate)})
    eventually((tmp_path / "gate.starts").exists)  # a job that is claimed and not begun would be put back
    worker.signal(signal.SIGTERM)
    worker.says("draining")
    gate.touch()
    assert worker.exits() == 0
    assert queue.get(job.id).status == "done"


def test_a_loop_whose_files_are_closed_ends_the_worker_and_does_not_spin(
    odd: Callable[..., Program], queue: JobQueue
) -> None:
    worker = odd("--threads", "2")
    assert ended(queue, queue.submit("close.loop")).status == "done"
    worker.says("the event loop cannot go on")
    job = queue.submit("await", 0, timeout_s=0.3, max_attempts=1)
    assert worker.exits() == 1
    assert kinds(queue.get(job.id)) == ["timeout"]
