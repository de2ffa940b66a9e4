"""``inline``: what a unit test of a handler can count on. That its jobs are those of a worker is in test_both_ways.py."""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from _jobqueue import hooks
from _jobqueue.inline import runner
from jobqueue import (
    Conflict,
    Context,
    Fail,
    Invalid,
    JobQueueError,
    KeyReused,
    NewJob,
    NotFound,
    Retry,
    Snooze,
    handler,
    inline,
    on_start,
    on_stop,
)


@handler("say")
def say(payload: Any, ctx: Context) -> Any:
    return payload


@handler("busy", max_attempts=5, backoff=3600)
def busy(payload: int, ctx: Context) -> int:
    if ctx.attempt <= payload:
        raise Retry("not yet", after=86_400)
    return ctx.attempt


@handler("fails", max_attempts=3, backoff=3600)
def fails(payload: Any, ctx: Context) -> None:
    raise RuntimeError(f"attempt {ctx.attempt}")


@handler("refuses")
def refuses(payload: Any, ctx: Context) -> None:
    raise Fail("no")


@handler("again")
def again(payload: Any, ctx: Context) -> None:
    again.submit(payload, delay_s=86_400)


ALL = (say, busy, fails, refuses)


def test_nothing_waits_but_the_clock_of_the_jobs_goes_on() -> None:
    began = time.monotonic()
    jobs = inline(*ALL)
    job = jobs.submit("busy", 3, delay_s=86_400)
    assert (job.status, job.attempts, job.result) == ("done", 4, 4)
    assert job.finished_ms and job.finished_ms - job.created_ms >= 4 * 86_400_000
    failed = jobs.submit("fails")
    waited_ms = (failed.started_ms or 0) - failed.created_ms
    assert failed.status == "failed" and waited_ms >= 2 * 3_600_000  # an hour each time: that is the longest
    assert time.monotonic() - began < 5


def test_a_snooze_is_no_attempt() -> None:
    @handler("polls", max_attempts=1)
    def polls(payload: int, ctx: Context) -> int:
        times.append(ctx.attempt)
        if len(times) < payload:
            raise Snooze(86_400)
        return len(times)

    times: list[int] = []
    job = inline(polls).submit("polls", 5)
    assert (job.status, job.result, job.attempts, job.snoozes, times) == ("done", 5, 1, 4, [1] * 5)
    never = inline(polls).submit("polls", 10**9)
    assert (never.status, never.errors[-1]["kind"]) == ("failed", "too_many_snoozes")


def test_a_payload_is_what_json_makes_of_it() -> None:
    jobs = inline(say)
    assert jobs.submit("say", {"pair": (1, 2), 3: None}).result == {"pair": [1, 2], "3": None}
    with pytest.raises(Invalid, match="not JSON"):
        jobs.submit("say", {1, 2})
    assert len(jobs.jobs()) == 1


def test_what_a_handler_submits_has_run_too_when_the_submit_returns() -> None:
    order: list[str] = []

    @handler("one")
    def one(payload: Any, ctx: Context) -> str:
        low = ctx.submit("note", "low", priority="low")
        ctx.submit("note", "high", priority="high")
        order.append("one")
        return low.status

    @handler("note")
    def note(payload: str, ctx: Context) -> None:
        order.append(payload)

    jobs = inline(one, note)
    assert jobs.submit("one").result == "queued"
    assert order == ["one", "high", "low"]


def test_workflows_run_in_their_order() -> None:
    @handler("sum")
    def total(payload: Any, ctx: Context) -> int:
        return sum(parent["result"] for parent in ctx.parents().values())

    jobs = inline(*ALL, total)
    steps = [NewJob("sum", after=["a", "b"], name="c"), NewJob("say", 5, after=["c"])]
    answers = jobs.submit_many([NewJob("say", 1, name="a"), NewJob("busy", 1, name="b"), *steps])
    assert [each.job.result for each in answers if each.job] == [1, 2, 3, 5]
    dead = jobs.submit("refuses")
    waits = jobs.submit("say", 1, after=[dead.id])
    told = jobs.submit("say", 2, after=[dead.id], when="ended")
    assert (waits.status, waits.blocked_by, told.status) == ("blocked", 1, "done")
    assert jobs.cancel(waits.id) == "cancelled"


def test_a_cancelled_job_takes_along_what_waits_for_it() -> None:
    jobs = inline(say)
    stays = jobs.submit("elsewhere")
    child = jobs.submit("say", 1, after=[stays.id])
    grandchild = jobs.submit("say", 1, after=[child.id])
    jobs.cancel(stays.id)
    ended = jobs.get(grandchild.id)
    assert (ended.status, ended.errors[-1]["kind"]) == ("cancelled", "parent_gone")
    with pytest.raises(Invalid, match="is cancelled: retry it first"):
        jobs.submit("say", 1, after=[stays.id])
    for job in (child, grandchild, stays):
        assert jobs.retry(job.id) == "retried"
    assert [jobs.get(job.id).status for job in (stays, child, grandchild)] == ["queued", "blocked", "blocked"]


def test_a_batch_that_waits_is_stored_whole_or_not_at_all() -> None:
    jobs = inline(say)
    answers = jobs.submit_many([NewJob("say", name="a"), NewJob("say", after=["a", "nobody"])])
    assert [each.job for each in answers] == [None, None] and jobs.jobs() == []
    assert "no job before this one has the name nobody" in str(answers[1].error)
    good, bad = jobs.submit_many([NewJob("say"), NewJob("say", {1})])
    assert good.job and good.job.status == "done" and isinstance(bad.error, Invalid)


def test_keys_are_those_of_a_queue() -> None:
    jobs = inline(say)
    first = jobs.submit("say", 1, key="k")
    assert jobs.submit("say", 1, key="k").id == first.id and len(jobs.jobs()) == 1
    with pytest.raises(KeyReused):
        jobs.submit("say", 2, key="k")
    held = jobs.submit("elsewhere", unique_key="u")
    assert jobs.submit("elsewhere", 2, unique_key="u").id == held.id
    jobs.cancel(held.id)
    assert jobs.submit("elsewhere", 3, unique_key="u").id != held.id
    with pytest.raises(Conflict, match="unique key"):
        jobs.retry(held.id)


def test_an_operators_calls() -> None:
    jobs = inline(*ALL)
    dead = jobs.submit("busy", 9)
    assert (dead.status, dead.attempts) == ("failed", 5)
    assert jobs.retry(dead.id, 0) == "retried"
    mended = jobs.get(dead.id)
    assert (mended.status, mended.attempts, mended.payload, len(mended.errors)) == ("done", 1, 0, 5)
    for call in (jobs.retry, jobs.cancel):
        with pytest.raises(Conflict, match="a job that is done"):
            call(dead.id)
    with pytest.raises(NotFound):
        jobs.get("nothing")
    assert jobs.wait(dead.id, 5).status == "done"


def test_a_running_job_can_be_cancelled() -> None:
    @handler("stops")
    def stops(payload: Any, ctx: Context) -> None:
        assert jobs.cancel(ctx.job_id) == "asked"
        ctx.check()

    jobs = inline(stops)
    job = jobs.submit("stops")
    assert (job.status, job.cancel_asked, job.errors[-1]["kind"]) == ("cancelled", True, "cancelled")


def test_a_loop_without_an_end_is_stopped_at_its_timeout() -> None:
    @handler("spin", timeout=0.1, max_attempts=1)
    def spin(payload: Any, ctx: Context) -> None:
        while True:
            pass

    job = inline(spin).submit("spin")
    assert (job.status, job.errors[-1]["kind"]) == ("failed", "timeout")


def test_a_job_that_submits_itself_for_ever_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "ATTEMPTS_MOST", 100)
    with inline(again) as jobs, pytest.raises(RuntimeError, match="does a job submit itself"):
        jobs.submit("again")


def test_a_type_without_a_handler_stays_queued() -> None:
    jobs = inline(say)
    first, second = jobs.submit("elsewhere"), jobs.submit("elsewhere", priority="high")
    assert [jobs.get(job.id).position for job in (first, second)] == [2, 1]
    assert jobs.submit("say", 1).status == "done"


# ----------------------------------------------------------------------------------------------- what it is made of

MODULE = """
from jobqueue import handler, on_start, on_stop

NOTES = []

@on_start
async def begin():
    NOTES.append("begin")

@on_stop
def end():
    NOTES.append("end")

@handler("it")
async def it(payload, ctx):
    NOTES.append(payload)
    return payload
"""


@pytest.fixture
def own_hooks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(hooks, "HOOKS", [])
    yield


@pytest.fixture
def module(own_hooks: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "made.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "made", raising=False)
    return importlib.import_module("made")


def test_hooks_of_the_module_run_around_the_jobs(module: Any) -> None:
    on_start(lambda: module.NOTES.append("of another module"))
    with inline(module) as jobs:
        assert module.it.submit("job").result == "job"
        assert len(jobs.jobs()) == 1
    assert module.NOTES == ["begin", "job", "end"]
    jobs.close()
    assert module.NOTES == ["begin", "job", "end"]


def test_a_hook_that_fails_fails_the_test(own_hooks: None) -> None:
    made: Any = ModuleType("made")

    def breaks() -> None:
        raise ValueError("no database")

    made.say, made.breaks = say, on_start(breaks)
    with pytest.raises(
        hooks.HookFailed, match=r"@on_start breaks \(test_inline.py, line \d+\): ValueError: no database"
    ):
        inline(made)
    hooks.HOOKS.clear()
    made.breaks = on_stop(breaks)
    with pytest.raises(hooks.HookFailed, match="@on_stop breaks"), inline(made) as jobs:
        jobs.submit("say")


def test_handlers_come_from_names_and_files_too(tmp_path: Path, own_hooks: None) -> None:
    (tmp_path / "somewhere.py").write_text(MODULE)
    with inline(str(tmp_path / "somewhere.py"), say) as jobs:
        assert [jobs.submit(name, 1).result for name in ("it", "say")] == [1, 1]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ((), "no module is named"),
        ((5,), "5 is no module"),
        ((len,), "is no module, no name of one, and no function that is marked"),
        ((hooks,), "_jobqueue.hooks has no handlers"),
    ],
)
def test_what_a_worker_would_refuse_is_refused(given: tuple[Any, ...], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        inline(*given)


def test_a_handler_of_the_wrong_form_is_refused() -> None:
    wrong: Any = handler("wrong")(lambda payload: payload)
    with pytest.raises(ValueError, match=r"cannot work: it takes \(payload\), and is called with"):
        inline(wrong)


def test_errors_of_a_submit_are_those_of_a_queue() -> None:
    with pytest.raises(JobQueueError, match="/delay_s"):
        inline(say).submit("say", delay_s=-1)
