"""What handlers do with their jobs' relatives: parents, and jobs that they submit."""

from __future__ import annotations

from jobqueue import JobQueue, NewJob
from tests.harness import System, eventually


def ends(queue: JobQueue, job_id: str, status: str = "done") -> None:
    eventually(lambda: queue.get(job_id).status, equals=status)


def test_second_attempt_makes_no_second_set_of_jobs(system: System, queue: JobQueue) -> None:
    system.reaper()
    system.worker("--handlers", "tests.odd_handlers")
    job = queue.submit("split", [1, 2, 3])
    ends(queue, job.id)
    last, *alike = queue.get(job.id).result
    ends(queue, last)
    assert queue.get(last).result == 12
    assert len(set(alike)) == 3
    assert queue.books("default").totals["submitted"] == 1 + 4 + 3


def test_operators_retry_makes_them_anew(system: System, queue: JobQueue) -> None:
    system.worker("--handlers", "tests.odd_handlers")
    job = queue.submit("split", [1], max_attempts=1)
    ends(queue, job.id, "failed")
    queue.retry(job.id)
    ends(queue, job.id, "failed")
    eventually(lambda: queue.books("default").totals["submitted"], equals=1 + 2 * 5)


def test_long_result_of_a_parent_is_read_when_it_is_asked_for(system: System, queue: JobQueue) -> None:
    system.worker("--handlers", "tests.odd_handlers")
    rows = queue.submit_many(
        [NewJob("long", 10, name="short"), NewJob("long", 100_000, name="long"), NewJob("lengths", after=["*"])]
    )
    assert rows[2].job
    ends(queue, rows[2].job.id)
    assert queue.get(rows[2].job.id).result == {"short": [10, "done", None], "long": [100_000, "done", None]}
