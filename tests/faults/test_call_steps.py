"""Calls from Python over a connection that is cut at any step."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from jobqueue import Filter, JobQueue, NewJob
from tests.faults.scene import (
    Case,
    Scene,
    Stage,
    cases_of,
    plain,
    play_all,
)
from tests.faults.test_steps import CHILDREN
from tests.played import Worker, tick

pytestmark = pytest.mark.long(10)


# -------------------------------------------------------------------------------------------- calls from Python, repeated


def failed_job(jobs: JobQueue, queue: str) -> str:
    job = jobs.submit(queue=queue)
    worker = Worker(jobs, job.id, queue=queue)
    worker.give("failed", kind="Fail")
    worker.link.close()
    return job.id


def running_job(jobs: JobQueue, queue: str) -> str:
    job = jobs.submit(queue=queue)
    worker = Worker(jobs, job.id, queue=queue)
    worker.claim()
    worker.link.close()
    return job.id


def waiting_job(jobs: JobQueue, queue: str) -> str:
    return jobs.submit(queue=queue).id


def scheduled_job(jobs: JobQueue, queue: str) -> str:
    return jobs.submit(queue=queue, delay_s=3600).id


def dead_letters(jobs: JobQueue, queue: str) -> str:
    return max(failed_job(jobs, queue) for _ in range(3))


def parent(jobs: JobQueue, queue: str) -> str:
    job = jobs.submit(queue=queue)
    jobs.submit_many([NewJob(queue=queue, after=[job.id]) for _ in range(CHILDREN)])
    return job.id


def cancelled_chain(jobs: JobQueue, queue: str) -> str:
    rows = jobs.submit_many([NewJob(queue=queue, name=f"n{n}", after=[f"n{n - 1}"] if n else []) for n in range(3)])
    first, *_ = [row.job.id for row in rows if row.job]
    jobs.cancel(first)
    return first


def nothing(jobs: JobQueue, queue: str) -> str:
    return ""


# What is there before, and the call.
Call = tuple[Callable[[JobQueue, str], str], Callable[[JobQueue, str, str], Any]]


CALLS: dict[str, Call] = {
    "submit": (nothing, lambda jobs, queue, job_id: jobs.submit("noop", {"n": 1}, queue=queue).status),
    "submit under a key": (nothing, lambda jobs, queue, job_id: jobs.submit(queue=queue, key=queue, tags=["a"]).status),
    "submit a unique job": (nothing, lambda jobs, queue, job_id: jobs.submit(queue=queue, unique_key="u").status),
    "submit many": (nothing, lambda jobs, queue, job_id: len(jobs.submit_many([NewJob(queue=queue)] * 300, key=queue))),
    "submit what waits for a job": (
        waiting_job,
        lambda jobs, queue, job_id: jobs.submit(queue=queue, after=[job_id]).blocked_by,
    ),
    "submit a workflow": (
        nothing,
        lambda jobs, queue, job_id: [
            row.job and row.job.blocked_by
            for row in jobs.submit_many([NewJob(queue=queue, after=["*"] if n else []) for n in range(5)], key=queue)
        ],
    ),
    "cancel a parent of many": (parent, lambda jobs, queue, job_id: jobs.cancel(job_id)),
    "delete a parent of many": (parent, lambda jobs, queue, job_id: jobs.delete(job_id)),
    "retry a workflow": (
        cancelled_chain,
        lambda jobs, queue, job_id: jobs.sweep("retry", Filter(queue=queue, status="cancelled"))[:3],
    ),
    "cancel what waits": (waiting_job, lambda jobs, queue, job_id: jobs.cancel(job_id)),
    "cancel what runs": (running_job, lambda jobs, queue, job_id: jobs.cancel(job_id)),
    "retry": (failed_job, lambda jobs, queue, job_id: jobs.retry(job_id)),
    "retry with another payload": (failed_job, lambda jobs, queue, job_id: jobs.retry(job_id, {"n": 2})),
    "retry many": (dead_letters, lambda jobs, queue, job_id: jobs.sweep("retry", Filter(queue=queue, kind="Fail"))[:3]),
    "delete many": (dead_letters, lambda jobs, queue, job_id: jobs.sweep("delete", Filter(queue=queue))[:3]),
    "cancel two": (waiting_job, lambda jobs, queue, job_id: jobs.act_on("cancel", [job_id, "x"])[:3]),
    "requeue": (dead_letters, lambda jobs, queue, job_id: jobs.requeue_dead(queue)[1]),
    "run now": (scheduled_job, lambda jobs, queue, job_id: jobs.run_now(job_id)),
    "pause": (waiting_job, lambda jobs, queue, job_id: jobs.pause(queue)),
    "delete": (waiting_job, lambda jobs, queue, job_id: jobs.delete(job_id)),
}


def call(scene: Scene, of: Call) -> None:
    """What it answers, and what is there after a reaper's tick."""
    prepare, act = of
    job_id = prepare(scene.jobs, scene.queue)
    scene.answer = act(JobQueue(scene.proxy.url), scene.queue, job_id)
    tick(scene.jobs, scene.queue)
    books = scene.jobs.books(scene.queue)
    scene.end = books.sizes, books.totals, books.paused, books.missing


@pytest.mark.long(1)
@pytest.mark.parametrize("name", CALLS)
def test_a_call_over_a_cut_connection_does_and_answers_what_it_would_have_without(stage: Stage, name: str) -> None:
    make = partial(Scene, stage, name_of=plain)
    without = make(Case(None))
    call(without, CALLS[name])

    def same(scene: Scene) -> None:
        call(scene, CALLS[name])
        assert (scene.answer, scene.end) == (without.answer, without.end)
        scene.has_struck()  # after the last answer, a moment later
        assert scene.jobs.check(scene.queue) == []

    assert without.steps and without.jobs.check(without.queue) == []
    play_all(f"A cut at each message of: {name}", cases_of(without.steps), make, same)
    without.close()
