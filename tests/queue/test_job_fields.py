"""What a job says of itself while it is being cancelled, and when it has ended."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from _jobqueue.records import Held, Settlement
from _jobqueue.store.leases import Conversation
from jobqueue import Job, JobQueue
from tests.harness import Server, eventually

Q = "jq:{default}:"
LEASE_MS = 60_000


@pytest.fixture
def slot(queue: JobQueue) -> Iterator[Conversation]:
    conversation = queue.conversation("default", "w-1", LEASE_MS)
    yield conversation
    conversation.close()


def claimed(queue: JobQueue, slot: Conversation, progress: str = "") -> Settlement:
    """A running job that has told its progress, as the settlement that ends it."""
    job = queue.submit()
    (claim,) = slot.exchange(want=1)[1]
    assert claim.id == job.id
    fields: list[Any] = ["progress", progress] if progress else []
    queue.presence("default", "w", LEASE_MS).beat({}, {}, [Held(claim.id, claim.token, LEASE_MS, fields)])
    return Settlement(claim.id, claim.token, "done", fields=["result", "1"])


def now_ms(server: Server) -> int:
    seconds, micros = server.client.time()
    return int(seconds * 1000 + micros // 1000)


def test_a_job_says_since_when_it_is_being_cancelled(queue: JobQueue, server: Server, slot: Conversation) -> None:
    running = claimed(queue, slot)
    assert queue.get(running.id).as_dict()["cancel_requested_at"] is None
    before = now_ms(server)
    assert queue.cancel(running.id) == "asked"
    job = queue.get(running.id)
    assert job.cancel_requested_ms is not None and before <= job.cancel_requested_ms <= now_ms(server)
    assert job.cancel_asked and job.as_dict()["cancel_requested_at"].startswith("20")
    eventually(lambda: now_ms(server) > (job.cancel_requested_ms or 0))
    assert queue.cancel(running.id) == "asked"
    assert queue.get(running.id).cancel_requested_ms == job.cancel_requested_ms, "asking again changes nothing"
    running.outcome, running.fields = "cancelled", []
    slot.exchange([running])
    ended = queue.get(running.id)
    assert (ended.status, ended.cancel_requested_ms) == ("cancelled", job.cancel_requested_ms)
    queue.retry(running.id)
    assert queue.get(running.id).cancel_requested_ms is None


def test_a_job_that_had_not_started_was_never_asked(queue: JobQueue) -> None:
    job = queue.submit()
    queue.cancel(job.id)
    assert (queue.get(job.id).status, queue.get(job.id).cancel_requested_ms) == ("cancelled", None)


HALF, WHOLE = '{"fraction": 0.5, "note": "256 px"}', '{"fraction": 1.0, "note": "all"}'


@pytest.mark.parametrize(
    "outcome, told, seen",
    [
        ("done", HALF, None),
        ("done", WHOLE, {"fraction": 1.0, "note": "all"}),
        ("done", "", None),
        ("failed", HALF, {"fraction": 0.5, "note": "256 px"}),
        ("cancelled", HALF, {"fraction": 0.5, "note": "256 px"}),
    ],
)
def test_the_progress_of_a_done_job_is_complete_or_gone(
    queue: JobQueue, slot: Conversation, outcome: str, told: str, seen: Any
) -> None:
    running = claimed(queue, slot, told)
    shown: Job = queue.get(running.id)
    assert (shown.progress or {}).get("fraction") == ({HALF: 0.5, WHOLE: 1.0}.get(told))
    running.outcome, running.delay_ms = outcome, -3
    slot.exchange([running])
    assert (queue.get(running.id).status, queue.get(running.id).progress) == (outcome, seen)
    assert queue.page().jobs[0].progress == seen
