"""Job types: how a handler is marked, and how it ends a job."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from _jobqueue.errors import Invalid
from _jobqueue.new_job import NewJob
from _jobqueue.records import AGAIN, MAX_DELAY_MS, NAME
from _jobqueue.submitting import Mark, Submit


class Fail(Exception):
    """Raised by a handler: the job has failed for good and is not retried."""


class Retry(Exception):
    """Raised by a handler: try again ``after`` seconds from now (default: the backoff), while attempts are left. It is no error:
    the next backoff is as long as it would have been."""

    after: float | None = None

    def __init__(self, message: str = "the handler asked for a retry", *, after: float | None = None) -> None:
        self.after = after
        self.delay_ms()
        super().__init__(message)

    def delay_ms(self) -> int:
        """``after`` as a settlement takes it. TypeError or ValueError for what is no length of time."""
        return AGAIN if self.after is None else _delay_ms(f"Retry(after={self.after!r})", self.after)


class Snooze(Exception):
    """Raised by a handler: not now; run the job again ``after`` seconds from now. It is no attempt. The 10,000th time it fails the
    job instead, so that no job comes back for ever."""

    after: float

    def __init__(self, after: float) -> None:
        self.after = after
        super().__init__(f"snoozed for {self.delay_ms() / 1000:g} s")

    def delay_ms(self) -> int:
        """``after`` as a settlement takes it. TypeError or ValueError for what is no length of time."""
        return _delay_ms(f"Snooze({self.after!r})", self.after)


def _delay_ms(said: str, after: Any) -> int:
    """A time that has passed is none."""
    if not isinstance(after, (int, float)) or isinstance(after, bool):
        raise TypeError(f"{said}: after must be a number of seconds")
    if not after <= MAX_DELAY_MS / 1000:  # nor is NaN
        raise ValueError(f"{said}: after must be at most {MAX_DELAY_MS // 1000} seconds")
    return int(max(0, round(max(-1.0, after) * 1000)))


@dataclass(frozen=True)
class JobType:
    """What a worker knows of a type. None: the worker's own default."""

    name: str
    function: Callable[[Any, Any], Any]
    timeout: float | None = None
    max_attempts: int | None = None
    backoff: float | None = None
    max_backoff: float | None = None
    jitter: float | None = None
    queue: str | None = None  # of jobs that name none
    place: str = ""  # where its handler is marked
    is_async: bool = False  # what it returns is to be awaited


def handler(
    name: str,
    *,
    timeout: float | None = None,
    max_attempts: int | None = None,
    backoff: float | None = None,
    max_backoff: float | None = None,
    jitter: float | None = None,
    queue: str | None = None,
) -> Mark:
    """Mark ``def f(payload, ctx)``, or an ``async def``, as the handler of a job type; seconds. It gets ``f.submit(payload)``.
    Several types may share a function; ``submit`` is of the topmost. ``queue``: where its jobs go that name no queue; a worker
    that serves that queue is needed.

    The backoff doubles with each error, up to ``max_backoff`` (an hour); ``jitter``, 0 to 1, is the share of it that is random."""
    place = _place(sys._getframe(1))
    if not isinstance(name, str):
        raise ValueError(f"write @handler('my.type'): a handler is marked with the name of its type ({place})")
    if not NAME.fullmatch(name):
        raise ValueError(f"job type {name!r} must match {NAME.pattern} ({place})")
    try:
        options = NewJob(
            type=name,
            queue=queue,
            timeout_s=timeout,
            max_attempts=max_attempts,
            backoff_s=backoff,
            max_backoff_s=max_backoff,
            jitter=jitter,
        )
    except Invalid as error:
        problems = "; ".join(f"{pointer[1:].removesuffix('_s')} {detail}" for pointer, detail in error.problems)
        raise ValueError(f"@handler({name!r}): {problems} ({place})") from None

    def mark(function: Any) -> Any:
        job_type = JobType(options.type, function, timeout, max_attempts, backoff, max_backoff, jitter, queue, place)
        try:  # a new list: functools.wraps copies the old one to the functions of other decorators
            function.job_types = [*marks_of(function), job_type]
            if not hasattr(type(function), "submit"):  # an object may have its own
                function.submit = Submit(name, queue)
        except AttributeError:
            raise ValueError(f"@handler({name!r}): {function!r} cannot be marked; wrap it in a def ({place})") from None
        # Its module remembers it too: it may be hidden behind another decorator, or lose its name to a later function.
        module = sys.modules.get(getattr(function, "__module__", ""))
        if module:
            vars(module).setdefault(MARKED, []).append(job_type)
        return function

    return mark


MARKED = "__job_types__"  # in a module: all that its functions were marked with


def marks_of(value: Any) -> list[JobType]:
    """What a function was marked with, or one that it wraps."""
    try:
        marks = value.job_types
        return [mark for mark in marks if isinstance(mark, JobType)]
    except Exception:  # whatever a module holds: some objects answer to no question
        return []


def _place(frame: FrameType) -> str:
    return f"{Path(frame.f_code.co_filename).name}, line {frame.f_lineno}"
