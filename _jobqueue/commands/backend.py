"""What the verbs need of a queue, wherever it is; and how a command ends."""

from __future__ import annotations

from typing import Any, Protocol

from _jobqueue.errors import (
    Conflict,
    Invalid,
    JobQueueError,
    NotFound,
    TooManyNames,
    TooManyTypes,
    TooNew,
    Unavailable,
)
from _jobqueue.store.schedule_files import Plans
from _jobqueue.store.weather import REFUSED

# Exit codes. The last is that of sysexits.h for what may go well when it is repeated.
OK, FAILED, USAGE, UNAVAILABLE = 0, 1, 2, 75

Members = dict[str, Any]  # the JSON of the HTTP API


class Backend(Protocol):
    """The queues, in the words of the HTTP API. Every call may raise a JobQueueError."""

    where: str  # for people
    named_by: str  # the flag that says where

    @property
    def plans(self) -> Plans:
        """Schedules, as a file of them is applied."""

    def submit(self, job: Members, key: str | None) -> Members:
        """Store a job; under an idempotency key, once. Its answer may have a ``warning``."""

    def get(self, job_id: str) -> Members: ...

    def wait(self, job_id: str, wait_s: float) -> Members:
        """The job, when it has ended or that time has passed; perhaps earlier."""

    def page(self, wanted: dict[str, str], limit: int, cursor: str | None) -> Members:
        """Jobs that match ``status``, ``type``, ``queue``, ``tag``, ``kind``, ``since``, ``until``: jobs, total, next_cursor."""

    def act(self, action: str, job_id: str, body: Members | None) -> Members:
        """Retry, cancel or run a job. Returns it."""

    def delete(self, job_id: str) -> None: ...

    def pause(self, queue: str, job_type: str | None, paused: bool) -> Members:
        """Stop a queue, or a type in it, or let it go on. Returns the queue."""

    def queues(self) -> dict[str, int]:
        """How many jobs each holds."""

    def check(self, queue: str) -> list[str]:
        """A sentence for each thing that is wrong."""

    def limits(self, queue: str) -> list[Members]: ...

    def limit(self, action: str, queue: str, name: str, definition: Members | None) -> Members:
        """get, set (to the definition): the limit; delete: nothing."""

    def schedules(self, queue: str | None) -> list[Members]: ...

    def schedule(self, action: str, queue: str, name: str) -> Members:
        """get, pause or resume: the schedule; run: the job; delete: nothing."""


class NoAnswer(Unavailable):
    """The API cannot be reached, or says that it cannot answer now."""


class Refused(JobQueueError):
    """The API wants a key, or another one. ``USAGE``: the command was called without."""


class NoApi(JobQueueError):
    """Something answers at that address, but not as this API does."""


def code_of(error: JobQueueError) -> int:
    if isinstance(error, Unavailable):
        return UNAVAILABLE
    if isinstance(error, (TooManyNames, TooManyTypes)):
        return FAILED
    return USAGE if isinstance(error, (Invalid, Refused, NoApi, TooNew)) else FAILED


def sentence_of(error: JobQueueError, backend: Backend) -> str:
    """What is wrong and what to do, as one sentence without its end."""
    if isinstance(error, Invalid):
        return "; ".join(f"{pointer[1:]} {detail}" if pointer else detail for pointer, detail in error.problems)
    if isinstance(error, NoAnswer):
        return f"{error}; start the API, or name another by --url"
    if isinstance(error, Unavailable) and error.public == REFUSED:
        return f"{error}; put right what it says, or name another by --redis-url"
    if isinstance(error, Unavailable):
        return f"{error}; start it, or name another by --redis-url"
    if isinstance(error, Refused):
        return f"{error}; give a key that may do it by --key or JOBQUEUE_KEY"
    if isinstance(error, NoApi):
        return f"{error}; look whether --url is the address of the API"
    if isinstance(error, NotFound):
        return f"{error} in {backend.where}; see what is there with `list`, `schedules list` or `limits list`, or name another place by {backend.named_by}"
    if isinstance(error, Conflict):
        return f"{error}; see what it is now with `get`, `list` or `schedules list`"
    return str(error)
