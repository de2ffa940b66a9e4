"""``.submit`` of a function that is marked with @handler."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from _jobqueue.context import Context
from _jobqueue.new_job import JobOptions
from _jobqueue.records import Job

if TYPE_CHECKING:  # at run time nobody needs it
    from typing_extensions import Unpack


class Submits(Protocol):
    """What takes jobs: a JobQueue, what ``inline`` gives, or a handler's context."""

    @property
    def submit(self) -> Callable[..., Job]: ...


# Where a handler's ``.submit`` leads when it does not say: to the jobs of a test. None: to Redis.
inline_jobs: ContextVar[Submits | None] = ContextVar("inline_jobs", default=None)

P = TypeVar("P")
P_contra = TypeVar("P_contra", contravariant=True)
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Handler(Protocol[P_contra, R_co]):
    """A function that is marked with @handler. It stays that function."""

    __name__: str

    def __call__(self, payload: P_contra, ctx: Context, /) -> R_co: ...

    def submit(
        self,
        payload: P_contra,
        *,
        key: str | None = None,
        via: Submits | None = None,
        **options: Unpack[JobOptions],
    ) -> Job:
        """Submit a job of this type and return it. ``key`` makes a repeat harmless; ``options`` are those of NewJob. ``via``: a
        JobQueue, or a handler's ``ctx``; by default the Redis at REDIS_URL."""


class Mark(Protocol):
    """What @handler(...) does to a function."""

    def __call__(self, function: Callable[[P, Any], R], /) -> Handler[P, R]: ...


class Submit:
    """``.submit`` of a handler, see there."""

    def __init__(self, type: str, queue: str | None) -> None:
        self._type, self._queue = type, queue

    def __call__(
        self, payload: Any, *, key: str | None = None, via: Submits | None = None, **options: Unpack[JobOptions]
    ) -> Job:
        if self._queue:
            options.setdefault("queue", self._queue)
        jobs = via or inline_jobs.get() or _at(os.environ.get("REDIS_URL") or "redis://localhost:6379/0")
        return jobs.submit(self._type, payload, **({} if key is None else {"key": key}), **options)

    def __repr__(self) -> str:
        return f"<submit a job of the type {self._type}>"


@cache
def _at(url: str) -> Submits:
    from jobqueue import JobQueue

    return JobQueue(url)
