"""What a handler holds of its job, and how it learns that it shall stop."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from _jobqueue.new_job import NewJob
from _jobqueue.records import LOG_LINE_CHARS, Claimed, Job
from _jobqueue.spans import following

if TYPE_CHECKING:  # at run time nobody needs it
    from typing_extensions import Unpack

    from _jobqueue.new_job import JobOptions


class Interrupted(BaseException):
    """Raised inside a handler by ``ctx.check()``. Not an Exception, so that ``except Exception`` lets it pass."""


class TimedOut(Interrupted):
    """Raised inside a handler at its timeout, by ``ctx.check()`` or between any two of its bytecodes."""


class Attempt(Protocol):
    """The attempt that a context speaks for."""

    job: Claimed

    def show(self, fraction: float, note: str) -> None: ...
    def add_line(self, line: str) -> None: ...
    def check(self) -> None: ...


class Relatives(Protocol):
    """The jobs that one has waited for, and those that it submits."""

    def parents(self) -> Mapping[str, Mapping[str, Any]]: ...
    def submit(self, jobs: Sequence[NewJob], key: str) -> list[Job]: ...


class Context:
    """What a handler can ask and tell about its job. Only the handler holds it, so it dies before the attempt ends."""

    def __init__(self, run: Attempt, family: Callable[[str], Relatives] | None = None) -> None:
        """``family``: how to reach the relatives of a job, where there is a queue."""
        self.job_id, self.attempt = run.job.id, run.job.attempt
        # The trace that the job belongs to, for the headers of calls that it makes; None where it belongs to none
        self.traceparent, self.tracestate = run.job.traceparent, run.job.tracestate
        self._run, self._reach = run, family
        self._known: Relatives | None = None

    def progress(self, fraction: float, note: str = "") -> None:
        """Show how far the job is, 0 to 1. Stored with the next beat."""
        self._run.show(min(1.0, max(0.0, float(fraction))), exact(note)[:LOG_LINE_CHARS])

    def log(self, text: str) -> None:
        """Add a line to the job's log (the last 100 are kept). Stored with the next beat."""
        self._run.add_line(" ".join(exact(text).splitlines())[:LOG_LINE_CHARS])

    def check(self) -> None:
        """Raise when the job was cancelled, has timed out or was taken back; return at once otherwise."""
        self._run.check()

    def parents(self) -> dict[str, Any]:
        """What has become of the jobs that this one waited for: by name, or else by id, each with ``job_id``, ``status``,
        ``result`` and ``error``."""
        return dict(self._family().parents())

    def submit(self, type: str, payload: Any = None, *, key: str = "", **options: Unpack[JobOptions]) -> Job:
        """Submit a job, once: the same call of a later attempt gives the same job. ``key`` tells those apart that have the same
        type and payload, else their order does. ``options`` are those of NewJob."""
        return self.submit_many([NewJob(type, payload, **options)], key=key)[0]

    def submit_many(self, jobs: Sequence[NewJob], *, key: str = "") -> list[Job]:
        """The same for several, which may wait for each other."""
        return self._family().submit(following(jobs, self._run.job), key)

    def _family(self) -> Relatives:
        if self._known is None:
            if self._reach is None:
                raise RuntimeError("there is no queue here")
            self._known = self._reach(self.job_id)
        return self._known


def exact(value: object) -> str:
    """Its text as a plain str: one of a subclass would bring code of the handler to whoever reads it later."""
    return "".join((str(value),))
