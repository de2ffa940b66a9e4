"""What a worker counts of each type, however its attempts end."""

from __future__ import annotations

import pytest

from _jobqueue.records import Claimed, Settlement
from _jobqueue.work.run import Run
from _jobqueue.work.slot import Slot
from jobqueue import JobQueue, NewJob
from tests.harness import System, eventually


def counted(queue: JobQueue) -> dict[str, tuple[int, int]]:
    """Attempts done and failed of each type."""
    ever = queue.by_type()["default"].ever
    return {name: (its.get("done", 0), its.get("failed", 0)) for name, its in ever.items()}


@pytest.mark.long(4)
def test_attempts_that_hang_or_are_interrupted_count_as_failed(system: System, queue: JobQueue) -> None:
    worker = system.worker("--handlers", "tests.odd_handlers", "--threads", "2", "--drain", "1", BACKOFF_S="0")
    queue.submit("sleep", 600, timeout_s=0.2, max_attempts=1)
    queue.submit("say")
    eventually(lambda: counted(queue), equals={"sleep": (0, 1), "say": (1, 0)})
    queue.submit("sleep", 600, timeout_s=900)
    eventually(lambda: any(info["running"] for info in queue.look("default").workers.values()))
    assert worker.stop() == 0
    assert counted(queue) == {"sleep": (0, 2), "say": (1, 0)}


def test_a_worker_tells_what_it_has_ended_in_each_queue_since_it_started(system: System, queue: JobQueue) -> None:
    system.worker("--handlers", "tests.odd_handlers", "--queues", "default=1,mail=1")
    queue.submit("sleep", 600, timeout_s=0.2, max_attempts=1)
    queue.submit_many([NewJob("say"), NewJob("say"), NewJob("say", queue="mail")])

    def told(name: str) -> list[tuple[int, int]]:
        return [(info["done"], info["failed"]) for info in queue.look(name).workers.values()]

    eventually(lambda: [told("default"), told("mail")], equals=[[(2, 1)], [(1, 0)]])
    [info] = queue.look("mail").workers.values()
    assert 0 <= info["up_s"] < 600 and info["load"] >= 0 and info["cpus"] >= 1


def test_attempts_of_a_worker_that_is_killed_count_once_as_failed(system: System, queue: JobQueue) -> None:
    system.reaper()
    killed = system.worker("--handlers", "tests.odd_handlers", "--threads", "1", PROCESSING_TIMEOUT_S="1")
    queue.submit("sleep", 600, timeout_s=900, max_attempts=1)
    eventually(lambda: queue.books("default").sizes["processing"], equals=1)
    killed.kill()
    eventually(lambda: queue.books("default").sizes["failed"], equals=1, within_s=30)
    assert counted(queue) == {"sleep": (0, 1)}


def test_types_that_nobody_handles_are_shown_beside_those_that_run(system: System, queue: JobQueue) -> None:
    system.worker("--handlers", "tests.odd_handlers", "--threads", "1")
    queue.submit_many([NewJob("strange")] * 30)
    queue.submit("say")
    eventually(lambda: queue.books("default").sizes["done"], equals=1)
    found = queue.by_type()["default"]
    assert found.exact and {name: each.jobs for name, each in found.waiting.items()} == {"strange": 30}


@pytest.mark.parametrize(
    "outcome, ends", [("done", {"done": 1}), ("failed", {"failed": 1}), ("cancelled", {}), ("released", {})]
)
def test_outcome_of_an_attempt_is_counted_under_its_type(outcome: str, ends: dict[str, int], queue: JobQueue) -> None:
    slot = Slot("default", queue.conversation("default", "w-1", 10_000))
    slot.take([Claimed("id", "w-1:1", "mail", b"", 1, None, waited_ms=3)])
    run = slot.start(lambda job: 10.0, stopping=False)
    assert isinstance(run, Run)
    slot.finish(run, Settlement("id", "w-1:1", outcome))
    counts = slot.take_counts()
    assert counts.keys() == {"mail"} and counts["mail"]["wait:5"] == 1
    assert {name: n for name, n in counts["mail"].items() if ":" not in name} == ends
    assert not slot.take_counts()
    slot.talk.close()
