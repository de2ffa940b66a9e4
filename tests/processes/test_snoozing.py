"""Handlers that raise Snooze, in a worker of their own."""

from __future__ import annotations

import math
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from _jobqueue.job_types import JobType
from _jobqueue.records import BACKOFF, Claimed, Policy, Settlement
from _jobqueue.work.attempts import Attempts
from _jobqueue.work.run import Run
from jobqueue import JobQueue, Snooze
from tests.harness import System, eventually


def attempt(function: Callable[..., Any]) -> Settlement:
    """One attempt at a job of a handler, in this process."""
    attempts = Attempts({"it": JobType("it", function)}, Policy(), 1000)
    end = attempts.attempt(Run(Claimed("id", "w-1:1", "it", b"1", 1, None), 10))
    assert end
    return end


@pytest.mark.parametrize(
    ("after", "delay_ms"), [(0, 0), (0.0015, 2), (-5, 0), (-math.inf, 0), (30, 30_000), (31_536_000, 31_536_000_000)]
)
def test_a_snooze_is_as_long_as_it_says(after: float, delay_ms: int) -> None:
    def handler(payload: object, ctx: Any) -> None:
        ctx.log("not yet")
        raise Snooze(after)

    end = attempt(handler)
    assert (end.outcome, end.delay_ms) == ("snoozed", delay_ms)
    assert (end.fields[::2], end.fields[1]) == ([b"log", b"log_at"], b"not yet")


@pytest.mark.parametrize(
    ("after", "kind", "message"),
    [
        ("30", "TypeError", "Snooze('30'): after must be a number of seconds"),
        (None, "TypeError", "Snooze(None): after must be a number of seconds"),
        (True, "TypeError", "Snooze(True): after must be a number of seconds"),
        (math.nan, "ValueError", "Snooze(nan): after must be at most 31536000 seconds"),
        (math.inf, "ValueError", "Snooze(inf): after must be at most 31536000 seconds"),
        (10**400, "ValueError", "after must be at most 31536000 seconds"),
    ],
)
@pytest.mark.parametrize("set_later", [False, True])
def test_what_is_no_time_is_refused_in_its_own_words(after: Any, kind: str, message: str, set_later: bool) -> None:
    def handler(payload: object, ctx: object) -> None:
        if not set_later:
            raise Snooze(after)
        snooze = Snooze(1)
        snooze.after = after
        raise snooze

    end = attempt(handler)
    assert (end.outcome, end.kind, end.delay_ms) == ("failed", kind, BACKOFF)
    assert end.message.startswith(f"{kind}: Snooze(") and message in end.message


def test_a_snoozed_job_comes_back_until_its_handler_is_content(system: System, queue: JobQueue, tmp_path: Path) -> None:
    system.reaper()
    worker = system.worker("--handlers", "tests.odd_handlers")
    gate = tmp_path / "gate"
    job = queue.submit("snooze", {"gate": str(gate), "after": 0.01})
    eventually(lambda: queue.get(job.id).snoozes, equals=lambda n: n >= 2)
    worker.says("snoozed")
    gate.touch()
    eventually(lambda: queue.get(job.id).status, equals="done")
    ended = queue.get(job.id)
    assert (ended.result, ended.attempts, ended.errors, ended.log) == (1, 1, [], ["not yet"])
    assert queue.check("default") == []


def test_a_worker_that_is_told_to_stop_stores_the_snooze(system: System, queue: JobQueue, tmp_path: Path) -> None:
    worker = system.worker("--handlers", "tests.odd_handlers")
    hold = tmp_path / "hold"
    job = queue.submit("snooze", {"gate": str(tmp_path / "gate"), "after": 60, "hold": str(hold)})
    eventually(lambda: queue.get(job.id).status, equals="processing")
    worker.signal(signal.SIGTERM)
    worker.says("draining")
    hold.touch()
    assert worker.exits() == 0
    assert (queue.get(job.id).status, queue.get(job.id).attempts, queue.get(job.id).snoozes) == ("scheduled", 0, 1)
