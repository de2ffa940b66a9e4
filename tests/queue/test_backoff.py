"""How long a failed attempt waits for the next one, on a real Redis. Time passes by moving scores: nothing here waits."""

from __future__ import annotations

from typing import Any

import pytest

from _jobqueue.records import AGAIN, BACKOFF, IN_PLACE, NEVER, Claimed
from jobqueue import JobQueue, NewJob, Policy
from tests.harness import Server
from tests.played import Q, Worker, ended, passes, score, tick

pytestmark = pytest.mark.usefixtures("in_the_end_all_is_well")


def waits_ms(queue: JobQueue, server: Server, worker: Worker, delay_ms: int = BACKOFF) -> int:
    """Fail the next attempt. Returns how long its job then waits, and lets that time pass."""
    [job] = worker.claim()
    worker.settle(ended(job, "failed", delay_ms))
    waited = score(server, "scheduled", job.id) - failed_at(server, job)
    passes(server, "scheduled", job)
    tick(queue)
    return int(waited)


def failed_at(server: Server, job: Claimed) -> int:
    number = server.client.hget(f"{Q}job:{job.id}", "errors")
    return int(server.client.hget(f"{Q}job:{job.id}", f"error:{number}").split()[0])


def many_crashes(worker: Worker) -> None:
    for _ in range(70):
        worker.settle(ended(worker.claim()[0], "failed", IN_PLACE))


@pytest.mark.parametrize(
    ("said", "most_s"),
    [
        ({"backoff_s": 1}, 3600),
        ({"backoff_s": 7200}, 7200),
        ({"backoff_s": 1, "max_backoff_s": 90}, 90),
        ({"backoff_s": 100, "max_backoff_s": 90}, 90),
        ({"backoff_s": 1, "max_backoff_s": 86_400}, 86_400),
        ({"backoff_s": 1, "type": "of.its.own"}, 600),
        ({"backoff_s": 1, "type": "of.its.own", "max_backoff_s": 90}, 90),
    ],
)
def test_backoff_grows_to_an_hour_or_what_the_job_or_its_type_says(
    queue: JobQueue, server: Server, worker: Worker, said: dict[str, Any], most_s: int
) -> None:
    worker.beat(**{"of.its.own": Policy(max_backoff_ms=600_000)})
    queue.submit(max_attempts=100, **said)
    many_crashes(worker)
    assert waits_ms(queue, server, worker) == most_s * 1000


def test_type_without_a_longest_backoff_forgets_the_one_it_had(queue: JobQueue, server: Server, worker: Worker) -> None:
    worker.beat(echo=Policy(max_backoff_ms=600_000, jitter=1.0))
    worker.beat(echo=Policy())
    queue.submit(max_attempts=100)
    many_crashes(worker)
    assert waits_ms(queue, server, worker) == 3_600_000


@pytest.mark.parametrize("by_type", [False, True], ids=["of a job", "of a type"])
def test_jitter_is_the_share_of_a_backoff_that_is_random(
    queue: JobQueue, server: Server, worker: Worker, by_type: bool
) -> None:
    worker.beat(echo=Policy(jitter=0.25 if by_type else 0.0))
    said = {} if by_type else {"jitter": 0.25}
    queue.submit_many([NewJob("echo", max_attempts=2, backoff_s=1000, **said) for _ in range(50)])
    jobs = worker.claim(50)
    worker.settle(*[ended(job, "failed") for job in jobs])
    waits = sorted(score(server, "scheduled", job.id) - failed_at(server, job) for job in jobs)
    assert 750_000 <= waits[0] < 800_000 and 950_000 < waits[-1] <= 1_000_000 and len(set(waits)) > 40


def test_delay_that_a_handler_chose_does_not_lengthen_the_next_backoff(
    queue: JobQueue, server: Server, worker: Worker
) -> None:
    job_id = queue.submit(max_attempts=20, backoff_s=1).id
    chosen = [waits_ms(queue, server, worker, delay) for delay in (5000, 400, AGAIN, 7000, AGAIN)]
    assert chosen == [5000, 400, 1000, 7000, 1000]
    assert [waits_ms(queue, server, worker, delay) for delay in (BACKOFF, BACKOFF, AGAIN, 500, BACKOFF)] == [
        *(1000, 2000),
        *(4000, 500),
        4000,
    ]
    [job] = worker.claim()
    worker.settle(ended(job, "failed", NEVER))
    queue.retry(job_id)
    assert [waits_ms(queue, server, worker) for _ in range(3)] == [1000, 2000, 4000]
