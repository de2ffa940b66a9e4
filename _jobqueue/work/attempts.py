"""Runs handlers, whatever they do, and puts their ends into words."""

from __future__ import annotations

import inspect
import json
import os
import traceback
from collections.abc import Callable
from typing import Any

from _jobqueue.context import Context, Interrupted, Relatives, TimedOut, exact
from _jobqueue.errors import Invalid
from _jobqueue.job_types import Fail, JobType, Retry, Snooze
from _jobqueue.kits import kit_of
from _jobqueue.logs import running
from _jobqueue.pieces import result_fields
from _jobqueue.records import BACKOFF, DELIVERY, NEVER, Claimed, Policy, Settlement
from _jobqueue.work.clock import Clock
from _jobqueue.work.event_loop import EventLoop
from _jobqueue.work.run import Run

MAX_TRACEBACK_CHARS = 5000
_from_json = json.JSONDecoder().decode
_class_name: Callable[[type], str] = type.__dict__["__name__"].__get__  # a metaclass cannot change this one
_UNAWAITED = "it is a coroutine; run it in the handler, with asyncio.run(...)"


class Attempts:
    """The job types that a worker knows, and how it makes an attempt at a job."""

    def __init__(
        self,
        types: dict[str, JobType],
        default: Policy,
        max_result_bytes: int,
        family: Callable[[str], Relatives] | None = None,
        loop: EventLoop | None = None,
    ) -> None:
        """``family``: how handlers reach the relatives of their jobs; ``loop``: where those run that are async."""
        self._family, self._loop, self.clock = family, loop or EventLoop(), Clock()
        if any(job_type.is_async for job_type in types.values()):
            self._loop.start()
        self.types, self._default, self._max_result_bytes = types, default, max_result_bytes
        self.policies = {name: _policy(job_type, default) for name, job_type in types.items()}
        self.kit = kit_of(self.policies)
        # the same without what only some threads may do at once
        self.plain_policies = {name: policy for name, policy in self.policies.items() if name != DELIVERY}
        self.plain_kit = kit_of(self.plain_policies)
        self.routes = {name: job_type.queue for name, job_type in types.items() if job_type.queue}

    def timeout_s(self, job: Claimed) -> float:
        policy = self.policies.get(job.type, self._default)
        return (job.timeout_ms or policy.timeout_ms) / 1000

    def attempt(self, run: Run) -> Settlement | None:
        """Run the handler. None when the job was taken back meanwhile."""
        if run.job.type not in self.types:
            known = ", ".join(sorted(self.types))
            message = f"no handler for the type {run.job.type!r}; this worker has {known}"
            return _failed(run, "no_handler", message)
        running.set(run.job)
        run.clock = self.clock
        try:
            return run.guard(self._outcome)
        except TimedOut:
            return self.timed_out(run)
        finally:
            running.set(None)

    def timed_out(self, run: Run) -> Settlement:
        if run.forced:
            return Settlement(run.job.id, run.job.token, "cancelled", fields=run.changes())
        job, policy = run.job, self.policies.get(run.job.type)
        if job.timeout_ms:
            advice = "its timeout_s; submit it with a longer one"
        elif policy and policy.timeout_ms != self._default.timeout_ms:
            advice = f"the timeout of the type {job.type}; give the type a longer one"
        else:
            advice = "the default PROCESSING_TIMEOUT_S; give the type a longer timeout"
        return _failed(run, "timeout", f"stopped after {run.timeout_s:g} s, {advice}")

    # -- inside the guard: from here on code of the handler's classes runs (__str__ of an exception, items() of a result,
    # destructors). None of their objects may be left when _outcome has returned

    def _outcome(self, run: Run) -> Settlement | None:
        job_type = self.types[run.job.type]
        try:
            try:
                try:
                    result = job_type.function(_from_json(run.job.payload.decode()), Context(run, self._family))
                    if job_type.is_async:
                        result = self._loop.run(result, run)
                finally:
                    if run.is_in_forked_child():
                        os._exit(0)  # a child that the handler forked; it may wait for ever for a lock held at the fork
            except BaseException as error:
                return _unsuccessful(run, error)
            return self._done(run, result)
        except TimedOut:
            raise
        except BaseException as odd:
            reason = f"what the handler gave back cannot be read: {_class_name(type(odd))}"
            return _failed(run, "bad_result", reason, NEVER)

    def _done(self, run: Run, result: Any) -> Settlement:
        try:
            fields = result_fields(result, self._max_result_bytes)
        except Invalid as invalid:
            reason = _UNAWAITED if inspect.isawaitable(result) else invalid.problems[0][1]
            return _failed(run, "bad_result", f"the result cannot be stored: {reason}", NEVER)
        return Settlement(run.job.id, run.job.token, "done", fields=fields + run.changes())


def _policy(job_type: JobType, default: Policy) -> Policy:
    return Policy(
        job_type.max_attempts or default.max_attempts,
        round(job_type.timeout * 1000) if job_type.timeout else default.timeout_ms,
        default.backoff_ms if job_type.backoff is None else round(job_type.backoff * 1000),
        default.max_backoff_ms if job_type.max_backoff is None else round(job_type.max_backoff * 1000),
        default.jitter if job_type.jitter is None else job_type.jitter,
    )


def _unsuccessful(run: Run, error: BaseException) -> Settlement | None:
    if isinstance(error, TimedOut):
        raise TimedOut
    if isinstance(error, Interrupted):
        cancelled = run.stopped_for == "cancelled"
        return Settlement(run.job.id, run.job.token, "cancelled") if cancelled else None
    if isinstance(error, Fail):
        return _failed(run, "Fail", exact(error), NEVER)
    if isinstance(error, Retry):
        return _asked_again(run, error)
    if isinstance(error, Snooze):
        return _snoozed(run, error)
    return _error(run, error, NEVER if _could_not_be_called(error) else BACKOFF)


def _asked_again(run: Run, error: Retry) -> Settlement:
    try:
        delay_ms = error.delay_ms()
    except (TypeError, ValueError) as wrong:  # a subclass may have its own way with `after`
        return _error(run, wrong)
    return _failed(run, "Retry", exact(error), delay_ms)


def _snoozed(run: Run, error: Snooze) -> Settlement:
    try:
        delay_ms = error.delay_ms()
    except (TypeError, ValueError) as wrong:  # the same
        return _error(run, wrong)
    return Settlement(run.job.id, run.job.token, "snoozed", delay_ms, fields=run.changes())


def _could_not_be_called(error: BaseException) -> bool:
    """No function of the handler's has begun: it does not take these arguments, and never will."""
    here = error.__traceback__
    return isinstance(error, TypeError) and here is not None and here.tb_next is None


def _error(run: Run, error: BaseException, delay_ms: int = BACKOFF) -> Settlement:
    kind = "".join(c for c in _class_name(type(error)) if c.isalnum() or c == "_")[:64] or "error"
    text, lines = _text_of(error), traceback.format_exception(type(error), error, error.__traceback__, limit=-8)
    end = _failed(run, kind, text, delay_ms)
    end.traceback = "".join(lines)[-MAX_TRACEBACK_CHARS:]
    return end


def _failed(run: Run, kind: str, message: str, delay_ms: int = BACKOFF) -> Settlement:
    return Settlement(run.job.id, run.job.token, "failed", delay_ms, kind, message, run.changes())


def _text_of(error: BaseException) -> str:
    try:
        text = exact(error)
    except Exception:
        text = "(its text cannot be shown)"
    return f"{_class_name(type(error))}: {text}"
