"""What a handler can do to its worker, and to those that run beside it (the rest is in tests/processes)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from jobqueue import Job, JobQueue
from tests.faults.forge import Forge
from tests.harness import Program, Server, eventually

pytestmark = pytest.mark.long(3)
T = {"PROCESSING_TIMEOUT_S": "1"}
ENDED = ("done", "failed")


@pytest.fixture
def forge(server: Server) -> Iterator[Forge]:
    forge = Forge(server)
    yield forge
    forge.close()


def worker(forge: Forge, threads: int) -> Program:
    return forge.start("worker", "--threads", str(threads), "--handlers", "tests.odd_handlers", **T)


def ended(queue: JobQueue, jobs: list[Job]) -> list[Job]:
    eventually(lambda: all(queue.get(job.id).status in ENDED for job in jobs), within_s=60)
    return [queue.get(job.id) for job in jobs]


@pytest.mark.parametrize(("pill", "code"), [("die", 7), ("segfault", -11)])
def test_f18_a_pill_is_dead_after_two_crashes_and_takes_along_only_what_was_there_at_both(
    forge: Forge, queue: JobQueue, pill: str, code: int
) -> None:
    forge.start("reaper", "--interval", "0.1", **T)
    before = [queue.submit("nap") for _ in range(30)]
    poison = queue.submit(pill, 7, max_attempts=2)
    after = [queue.submit("nap") for _ in range(30)]
    for _ in range(2):
        assert worker(forge, 8).exits(30) == code
    worker(forge, 8)
    dead = ended(queue, [poison])[0]
    assert (dead.status, [error["kind"] for error in dead.errors]) == ("failed", ["lease_expired"] * 2)
    innocents = ended(queue, before + after)
    lost = [job for job in innocents if job.status == "failed"]
    again = sum(job.attempts > 1 for job in innocents)
    print(f"F18, {pill} among 8 threads: of {len(innocents)} innocents {again} ran again, {len(lost)} of them are dead")
    assert len(lost) <= 7
    assert all([error["kind"] for error in job.errors] == ["lease_expired"] * 2 for job in lost)
    assert queue.check("default") == []


def test_f19_memory_that_runs_out_fails_the_job_that_took_it(forge: Forge, queue: JobQueue) -> None:
    running = worker(forge, 4)
    innocents = [queue.submit("nap") for _ in range(20)]
    leak = queue.submit("leak", max_attempts=1)
    innocents += [queue.submit("nap") for _ in range(20)]
    assert ended(queue, [leak])[0].errors[-1]["kind"] == "MemoryError"
    ends = ended(queue, innocents)
    print(f"F19: {sum(job.attempts > 1 for job in ends)} of {len(ends)} innocents ran again")
    assert {job.status for job in ends} == {"done"}
    assert running.process.poll() is None


def test_f21_jobs_beside_one_that_lets_no_other_thread_run_are_recovered_elsewhere(
    forge: Forge, queue: JobQueue
) -> None:
    forge.start("reaper", "--interval", "0.1", **T)
    hogged = worker(forge, 4)
    peers = [queue.submit("sleep", 0.5) for _ in range(3)]
    eventually(lambda: all(queue.get(job.id).status == "processing" for job in peers))
    hog = queue.submit("hog", 4, max_attempts=1)
    eventually(lambda: queue.get(hog.id).status, equals="processing")
    healthy = worker(forge, 4)
    ends = ended(queue, peers)
    assert [(job.status, job.attempts, job.errors[0]["kind"]) for job in ends] == [("done", 2, "lease_expired")] * 3
    said = ("a worker's beat has stopped", "took back a job")
    eventually(lambda: any(words in forge.programs[0].log for words in said))
    lost = ended(queue, [hog])[0]
    assert (lost.status, lost.errors[-1]["kind"]) == ("failed", "lease_expired")
    eventually(lambda: queue.books("default").totals.get("refused"), equals=4)
    print(
        f"F21: {len(peers)} peers ran again elsewhere; {hogged.log.count('late result was refused')} late results refused"
    )
    assert {job.worker for job in ends} == {healthy.log.partition("worker=")[2].split()[0]}
    assert queue.check("default") == []


def test_f24_a_handler_that_kills_every_connection_to_redis_is_done_once(forge: Forge, queue: JobQueue) -> None:
    running = worker(forge, 2)
    for _ in range(10):
        jobs = [queue.submit(name) for name in ("nap", "kill.connections", "nap")]
        assert {(job.status, job.attempts) for job in ended(queue, jobs)} == {("done", 1)}
    assert running.process.poll() is None and "Traceback" not in running.log
    assert queue.check("default") == []
