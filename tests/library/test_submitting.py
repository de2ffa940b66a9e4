"""``.submit`` of a handler, and JobQueue.wait."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from jobqueue import Context, JobQueue, NotFound, Unavailable, handler, inline
from tests.harness import Server
from tests.played import Worker


@handler("bare")
def bare(payload: Any, ctx: Context) -> Any:
    return payload


@handler("routed", queue="cpu")
def routed(payload: Any, ctx: Context) -> Any:
    return payload


@handler("upper")
@handler("lower")
def twice(payload: Any, ctx: Context) -> Any:
    return payload


def test_a_handler_submits_jobs_of_its_type(queue: JobQueue) -> None:
    job = queue.get(bare.submit([1], via=queue, priority="high", tags=["a"]).id)
    assert (job.type, job.payload, job.priority, job.tags, job.queue) == ("bare", [1], 9, ["a"], "default")


def test_it_leads_to_redis_url(queue: JobQueue, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", server.url)
    assert queue.get(bare.submit(1).id).payload == 1
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1")
    with pytest.raises(Unavailable):
        bare.submit(2)


def test_it_goes_to_the_queue_of_its_type_before_any_worker_has_said_so(queue: JobQueue) -> None:
    assert routed.submit(1, via=queue).queue == "cpu"
    assert routed.submit(1, via=queue, queue="other").queue == "other"


def test_a_key_makes_a_repeat_harmless(queue: JobQueue) -> None:
    assert bare.submit(1, via=queue, key="k").id == bare.submit(1, via=queue, key="k").id
    assert bare.submit(1, via=queue).id != bare.submit(1, via=queue).id


def test_of_several_types_it_is_the_topmost(queue: JobQueue) -> None:
    assert twice.submit(1, via=queue).type == "upper"


def test_a_misspelt_option_is_refused(queue: JobQueue) -> None:
    with pytest.raises(TypeError, match=r"^que is not a field of a job: did you mean queue"):
        bare.submit(1, via=queue, que="x")  # type: ignore[call-arg]


def test_an_object_keeps_a_submit_of_its_own() -> None:
    class Mine:
        def __call__(self, payload: Any, ctx: Any) -> int:
            return 1

        def submit(self) -> str:
            return "mine"

    mine: Any = handler("mine")(Mine())
    assert mine.submit() == "mine"


def test_inside_a_handler_the_context_makes_no_second_job() -> None:
    @handler("parent", max_attempts=2)
    def parent(payload: Any, ctx: Context) -> None:
        bare.submit(payload, via=ctx)
        assert ctx.attempt == 2

    with inline(parent, bare) as jobs:
        jobs.submit("parent", 1)
        assert [(job.type, job.status) for job in jobs.jobs()] == [("parent", "done"), ("bare", "done")]


# -------------------------------------------------------------------------------------------------------------- wait


@pytest.mark.parametrize("outcome", ["done", "failed", "cancelled"])
def test_wait_returns_the_job_once_it_has_ended(queue: JobQueue, worker: Worker, outcome: str) -> None:
    job_id = queue.submit(max_attempts=1).id
    found: list[str] = []
    waiting = threading.Thread(target=lambda: found.append(queue.wait(job_id, 30).status))
    waiting.start()
    if outcome == "cancelled":
        queue.cancel(job_id)
    else:
        worker.give(outcome)
    waiting.join(30)
    assert found == [outcome]
    assert queue.wait(job_id, 0).status == outcome


def test_wait_gives_up_after_its_time(queue: JobQueue) -> None:
    job_id = queue.submit().id
    began = time.monotonic()
    with pytest.raises(TimeoutError, match=rf"the job {job_id} has not ended within 0.2 s: it is queued"):
        queue.wait(job_id, 0.2)
    assert 0.2 <= time.monotonic() - began < 5
    with pytest.raises(TimeoutError):
        queue.wait(job_id, 0)


def test_wait_for_what_is_not_there_is_not_found(queue: JobQueue) -> None:
    queue.submit()
    with pytest.raises(NotFound):
        queue.wait("00000000-0000-8000-8000-000000000000", 5)


def test_wait_for_a_job_that_is_deleted_meanwhile_is_not_found(queue: JobQueue) -> None:
    job_id = queue.submit().id
    threading.Timer(0.1, queue.delete, [job_id]).start()
    with pytest.raises(NotFound):
        queue.wait(job_id, 30)
