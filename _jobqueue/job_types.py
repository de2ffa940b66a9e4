"""Job types: how a handler is marked and found, and how it ends a job."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from _jobqueue.new_job import NewJob
from _jobqueue.records import NAME


class Fail(Exception):
    """Raised by a handler: the job has failed for good and is not retried."""


class Retry(Exception):
    """Raised by a handler: try again ``after`` seconds from now (default: the backoff), while attempts are left."""

    def __init__(self, message: str = "the handler asked for a retry", *, after: float | None = None) -> None:
        self.after = after
        super().__init__(message)


@dataclass(frozen=True)
class JobType:
    """What a worker knows of a type. None: the worker's own default."""

    name: str
    function: Callable[[Any, Any], Any]
    timeout: float | None = None
    max_attempts: int | None = None
    backoff: float | None = None


F = TypeVar("F", bound=Callable[[Any, Any], Any])


def handler(
    name: str, *, timeout: float | None = None, max_attempts: int | None = None, backoff: float | None = None
) -> Callable[[F], F]:
    """Mark ``def f(payload, ctx)`` as the handler of a job type; seconds. Several types may share a function."""
    if not NAME.fullmatch(name):
        raise ValueError(f"job type {name!r} must match {NAME.pattern}")
    options = NewJob(type=name, timeout_s=timeout, max_attempts=max_attempts, backoff_s=backoff)  # checks the ranges

    def mark(function: F) -> F:
        job_type = JobType(options.type, function, timeout, max_attempts, backoff)
        vars(function).setdefault("job_types", []).append(job_type)
        return function

    return mark


def load_handlers(module_name: str) -> dict[str, JobType]:
    """Import a module (or ``file.py``) and collect the functions that it marks with ``handler``."""
    if sys.path[:1] != [""]:
        sys.path.insert(0, "")  # the current folder is searched before ours
    module = importlib.import_module(module_name.removesuffix(".py").replace("/", "."))
    found: dict[str, JobType] = {}
    for function in vars(module).values():
        for job_type in getattr(function, "job_types", ()) if callable(function) else ():
            if found.get(job_type.name, job_type) is not job_type:
                raise ValueError(f"two handlers for the type {job_type.name!r} in {module_name}")
            found[job_type.name] = job_type
    if not found:
        raise ValueError(f"{module_name} has no handlers: decorate a function with @handler('my.type')")
    return found
