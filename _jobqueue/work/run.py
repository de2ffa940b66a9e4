"""One attempt while it runs: what its handler says, and how its timeout reaches it."""

from __future__ import annotations

import ctypes
import json
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from _jobqueue.new_job import NewJob
from _jobqueue.records import LOG_LINE_CHARS, LOG_LINES, Claimed, Job
from _jobqueue.work.family import Family

T = TypeVar("T")
_NOTHING: Any = object()


_pid = os.getpid()  # asking for it is a system call


def _forked() -> None:
    global _pid
    _pid = os.getpid()


os.register_at_fork(after_in_child=_forked)


class Interrupted(BaseException):
    """Raised inside a handler by ``ctx.check()``. Not an Exception, so that ``except Exception`` lets it pass."""


class TimedOut(Interrupted):
    """Raised inside a handler at its timeout, by ``ctx.check()`` or between any two of its bytecodes."""


class Run:
    """One attempt, made by the thread that runs it. Monotonic seconds.

    The handler and everything that touches its objects run inside ``guard``. Only there can ``interrupt`` throw a TimedOut
    into the thread: it never lands in the code around."""

    def __init__(self, job: Claimed, timeout_s: float) -> None:
        self.job, self.timeout_s = job, timeout_s
        self.stopped_for: str | None = None  # timeout, cancelled or lost
        self.started = time.monotonic()
        self.deadline = self.started + timeout_s
        self.forced = False  # it ends because an operator stops it
        self._process, self._thread = _pid, threading.get_ident()
        self._lock = threading.Lock()  # guards what follows; no code of a handler runs while it is held
        self._inside = self._thrown = False
        self._lines: deque[str] | None = None
        self._changed: dict[str, str] | None = None

    def guard(self, function: Callable[[Run], T]) -> T:
        """What ``function`` returns. Raises TimedOut when it was interrupted."""
        value, called = _NOTHING, False
        while True:
            try:
                if not called:
                    called = self._inside = True
                    value = function(self)
                if os.getpid() != self._process:
                    os._exit(0)  # a child that the handler forked: it must not go on as a second worker
                with self._lock:
                    self._inside = False  # from here on nothing is thrown
                if self._thrown:
                    _throw(self._thread, None)  # take back what has not landed yet
                break
            except TimedOut:
                pass  # it came as the function ended, or was its end: told apart below
        if value is _NOTHING:
            raise TimedOut
        return value

    def is_in_forked_child(self) -> bool:
        """Whether this is a process that the handler has forked, as far as Python knows."""
        return self._process != _pid

    def stop_now(self) -> None:
        """An operator stops it: the watch interrupts it as if its time were up."""
        if not self.forced:
            self.forced, self.deadline = True, min(self.deadline, time.monotonic())

    def interrupt(self) -> bool:
        """Stop the attempt at its timeout, from another thread. False when it was interrupted before, or has ended."""
        with self._lock:
            if self._thrown or not self._inside:
                return False
            self._thrown = True
            self.stopped_for = "cancelled" if self.forced else "timeout"
            _throw(self._thread, TimedOut)
            return True

    def show(self, fraction: float, note: str) -> None:
        shown = json.dumps({"fraction": fraction, "note": note})
        with self._lock:
            self._changed = {**(self._changed or {}), "progress": shown}

    def add_line(self, line: str) -> None:
        with self._lock:
            if self._lines is None:
                self._lines = deque(maxlen=LOG_LINES)
            self._lines.append(line)
            self._changed = {**(self._changed or {}), "log": "\n".join(self._lines)}

    def changes(self) -> list[str | bytes | int]:
        """What is new since the last call, as fields of the job's hash."""
        if not self._changed:  # one read of one reference; what is added meanwhile is found at the next call
            return []
        with self._lock:
            changed, self._changed = self._changed or {}, None
        return [part.encode(errors="replace") for pair in changed.items() for part in pair]


class Context:
    """What a handler can ask and tell about its job. Only the handler holds it, so it dies before the attempt ends."""

    def __init__(self, run: Run, family: Callable[[str], Family] | None = None) -> None:
        """``family``: how to reach the relatives of a job, where there is a queue."""
        self.job_id, self.attempt = run.job.id, run.job.attempt
        self._run, self._reach = run, family
        self._known: Family | None = None

    def progress(self, fraction: float, note: str = "") -> None:
        """Show how far the job is, 0 to 1. Stored with the next beat."""
        self._run.show(min(1.0, max(0.0, float(fraction))), exact(note)[:LOG_LINE_CHARS])

    def log(self, text: str) -> None:
        """Add a line to the job's log (the last 100 are kept). Stored with the next beat."""
        self._run.add_line(" ".join(exact(text).splitlines())[:LOG_LINE_CHARS])

    def parents(self) -> dict[str, Any]:
        """What has become of the jobs that this one waited for: by name, or else by id, each with ``job_id``, ``status``,
        ``result`` and ``error``."""
        return dict(self._family().parents())

    def submit(self, type: str, payload: Any = None, *, key: str = "", **options: Any) -> Job:
        """Submit a job, once: the same call of a later attempt gives the same job. ``key`` tells those apart that have the same
        type and payload, else their order does. ``options`` are those of NewJob."""
        return self._family().submit([NewJob(type, payload, **options)], key)[0]

    def submit_many(self, jobs: Sequence[NewJob], *, key: str = "") -> list[Job]:
        """The same for several, which may wait for each other."""
        return self._family().submit(jobs, key)

    def _family(self) -> Family:
        if self._known is None:
            if self._reach is None:
                raise RuntimeError("there is no queue here")
            self._known = self._reach(self.job_id)
        return self._known

    def check(self) -> None:
        """Raise when the job was cancelled, has timed out or was taken back; return at once otherwise."""
        if self._run.stopped_for == "timeout":
            raise TimedOut
        if self._run.stopped_for:
            raise Interrupted


def exact(value: object) -> str:
    """Its text as a plain str: one of a subclass would bring code of the handler to whoever reads it later."""
    return "".join((str(value),))


def _throw(thread_id: int, exception: type[BaseException] | None) -> None:
    """Make a thread raise at its next bytecode; None takes back what has not been raised yet."""
    argument = ctypes.py_object(exception) if exception else None
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread_id), argument)
