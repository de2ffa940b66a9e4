"""How attempts fail, and what becomes of the job."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from _jobqueue.job_types import JobType
from _jobqueue.records import AGAIN, BACKOFF, NEVER, Claimed, Settlement
from _jobqueue.work.run import Run
from jobqueue import Retry
from tests.processes.working import ends, last_error, shift

pytestmark = pytest.mark.usefixtures("server")


# ------------------------------------------------------------------------------------------------------ how attempts fail


def test_whatever_a_handler_raises_fails_its_attempt_and_the_thread_lives(odd, queue):
    from tests.odd_handlers import EXCEPTIONS

    worker = odd("--threads", "1")
    jobs = {name: queue.submit("raise", name, max_attempts=1) for name in ("sys.exit", *EXCEPTIONS)}
    ended = {name: ends(queue, job.id, "failed") for name, job in jobs.items()}
    assert {name: job.attempts for name, job in ended.items()} == dict.fromkeys(jobs, 1)
    kinds = {name: job.errors[-1]["kind"] for name, job in ended.items()}
    named = [name for name in EXCEPTIONS if name not in ("MuteFail", "Surrogate", "RetrySoon", "RetryNever")]
    assert [kinds[name] for name in named] == named
    assert kinds["sys.exit"] == "SystemExit" and kinds["Surrogate"] == "ValueError"
    assert last_error(ended["Surrogate"])[1] == "ValueError: half ? of a pair\nand\0more"
    assert ended["Surrogate"].errors[-1]["traceback"].startswith("Traceback (most recent call last):")
    assert "dropped" not in kinds.values()
    assert "went wrong" not in worker.log and "ended unasked" not in worker.log


def test_a_result_that_cannot_be_stored_fails_the_attempt_and_says_why(odd, queue):
    from tests.odd_handlers import RESULTS

    worker = odd("--threads", "1", MAX_RESULT_BYTES="100000")
    jobs = {name: queue.submit("return", name, max_attempts=3) for name in RESULTS}  # no further attempt would help
    errors = {name: last_error(ends(queue, job.id, "failed")) for name, job in jobs.items()}
    assert {name: kind for name, (kind, _) in errors.items()} == dict.fromkeys(RESULTS, "bad_result")
    for name, reason in {
        "bytes": "bytes is not JSON serializable",
        "set": "set is not JSON serializable",
        "NaN": "not JSON",
        "object": "object is not JSON serializable",
        "large": "are more than 100000",
        "endless": "Circular reference",
        "deep": "nested deeper than 64 levels",
        "surrogate": "half of a surrogate pair",
        "key twice": "appears twice",
        "coroutine": "it is a coroutine; run it in the handler, with asyncio.run(...)",
    }.items():
        assert reason in errors[name][1]
    assert {queue.get(job.id).attempts for job in jobs.values()} == {1}
    assert "went wrong" not in worker.log


def test_fail_ends_a_job_although_attempts_are_left(odd, queue):
    odd()
    job = ends(queue, queue.submit("fail.for.good").id, "failed")
    assert (job.attempts, job.max_attempts) == (1, 5)
    assert last_error(job) == ("Fail", "no use in trying again")


def test_retry_chooses_its_delay(odd, queue, system):
    system.reaper()
    odd()
    soon, later = queue.submit("retry.after", 0.2), queue.submit("retry.after", 1800)
    assert ends(queue, soon.id).result == "now"
    waiting = ends(queue, later.id, "scheduled")
    assert waiting.run_at_ms and waiting.started_ms
    assert 1_799_000 < waiting.run_at_ms - waiting.started_ms < 1_830_000


def attempt(function: Callable[..., Any]) -> Settlement:
    """One attempt at a job of a handler, in this process."""
    ours = shift({"it": JobType("it", function)})
    end = ours.attempts.attempt(Run(Claimed("id", "w-1:1", "it", b"1", 1, None), 10))
    assert end
    return end


@pytest.mark.parametrize(
    ("after", "kind", "message"),
    [
        ("30", "TypeError", "Retry(after='30'): after must be a number of seconds"),
        (timedelta(seconds=30), "TypeError", "Retry(after=datetime.timedelta(seconds=30)): after must be a number"),
        (True, "TypeError", "Retry(after=True): after must be a number of seconds"),
        (math.nan, "ValueError", "Retry(after=nan): after must be at most 31536000 seconds"),
        (1e30, "ValueError", "Retry(after=1e+30): after must be at most 31536000 seconds"),
        (math.inf, "ValueError", "Retry(after=inf): after must be at most 31536000 seconds"),
        (10**400, "ValueError", "after must be at most 31536000 seconds"),
    ],
)
@pytest.mark.parametrize("set_later", [False, True])
def test_a_retry_after_what_is_no_time_is_refused_in_its_own_words(after, kind, message, set_later):
    def handler(payload: object, ctx: object) -> None:
        if not set_later:
            raise Retry(after=after)
        retry = Retry()
        retry.after = after
        raise retry

    end = attempt(handler)
    assert (end.kind, end.delay_ms) == (kind, BACKOFF)
    assert end.message.startswith(f"{kind}: Retry(after=") and message in end.message


@pytest.mark.parametrize(
    ("after", "delay_ms"),
    [(None, AGAIN), (0, 0), (0.0015, 2), (-5, 0), (-1e30, 0), (30, 30_000), (31_536_000, 31_536_000_000)],
)
def test_a_retry_waits_as_long_as_it_says(after, delay_ms):
    def handler(payload: object, ctx: object) -> None:
        raise Retry(after=after)

    assert (attempt(handler).kind, attempt(handler).delay_ms) == ("Retry", delay_ms)


def test_a_handler_that_cannot_be_called_is_not_tried_again():
    def fails_inside(payload: Any, ctx: object) -> Any:
        return payload + "1"

    ends = [attempt(function) for function in (lambda payload: payload, fails_inside)]
    assert [(end.kind, end.delay_ms) for end in ends] == [("TypeError", NEVER), ("TypeError", BACKOFF)]


def test_a_type_without_a_handler_waits_and_what_is_behind_it_runs(odd, queue):
    odd()
    strange = queue.submit("image.process", priority=9)
    assert ends(queue, queue.submit("say", "hello").id).result == "hello"
    waits = queue.get(strange.id)
    assert (waits.status, waits.attempts, waits.errors, waits.position) == ("queued", 0, [], 1)


def test_a_worker_that_comes_later_takes_what_was_parked(odd, queue, system):
    odd()
    strange = queue.submit("noop", priority=9)
    assert ends(queue, queue.submit("say", "hello").id).result == "hello"
    system.worker()
    assert ends(queue, strange.id).attempts == 1


def test_the_delay_between_attempts_doubles(odd, queue, system):
    system.reaper()
    odd()
    job = ends(queue, queue.submit("fail", backoff_s=0.2, max_attempts=4).id, "failed")
    assert [error["message"].partition("\n")[0] for error in job.errors] == [
        f"RuntimeError: attempt {n} failed" for n in (1, 2, 3, 4)
    ]
    at = [datetime.fromisoformat(error["at"].replace("Z", "+00:00")).timestamp() for error in job.errors]
    gaps = [later - earlier for earlier, later in itertools.pairwise(at)]
    for gap, delay in zip(gaps, (0.2, 0.4, 0.8), strict=True):
        assert delay - 0.01 <= gap < delay + 3
