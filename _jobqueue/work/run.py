"""One attempt while it runs: what its handler says, and how its timeout reaches it."""

from __future__ import annotations

import ctypes
import json
import os
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from _jobqueue.context import Interrupted, TimedOut
from _jobqueue.log_lines import LogLines
from _jobqueue.records import Claimed
from _jobqueue.work.clock import Clock

T = TypeVar("T")
_NOTHING: Any = object()


_pid = os.getpid()  # asking for it is a system call


def _forked() -> None:
    global _pid
    _pid = os.getpid()


os.register_at_fork(after_in_child=_forked)


class Task(Protocol):
    """What an attempt waits for on the event loop."""

    heard: bool  # the loop knows that it shall stop

    def cancel(self) -> None: ...


class Run:
    """One attempt, made by the thread that runs it. Monotonic seconds.

    The handler and everything that touches its objects run inside ``guard``. Only there can ``interrupt`` throw a TimedOut
    into the thread: it never lands in the code around."""

    def __init__(self, job: Claimed, timeout_s: float) -> None:
        self.job, self.timeout_s = job, timeout_s
        self.clock: Clock | None = None  # of the lines of its log; None: that of this machine
        self.stopped_for: str | None = None  # timeout, cancelled or lost
        self.task: Task | None = None  # of a handler that is async
        self.started = time.monotonic()
        self.deadline = self.started + timeout_s
        self.forced = False  # it ends because an operator stops it
        self._process, self._thread = _pid, threading.get_ident()
        self._lock = threading.Lock()  # guards what follows; no code of a handler runs while it is held
        self._inside = self._thrown = False
        self._log: LogLines | None = None
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
        self._cancel_task()
        return True

    def stop(self, why: str) -> None:
        """Ask the handler to stop, from another thread: the next ``check`` raises. A task is cancelled."""
        self.stopped_for = self.stopped_for or why
        self._cancel_task()

    def wait_for(self, task: Task | None) -> None:
        """Whom a stop cancels from here on; one that has come before does so now."""
        self.task = task
        if self.stopped_for:
            self._cancel_task()

    def _cancel_task(self) -> None:
        if task := self.task:
            task.cancel()

    def check(self) -> None:
        """Raise when it shall stop."""
        if self.stopped_for == "timeout":
            raise TimedOut
        if self.stopped_for:
            raise Interrupted

    def show(self, fraction: float, note: str) -> None:
        shown = json.dumps({"fraction": fraction, "note": note})
        with self._lock:
            self._changed = {**(self._changed or {}), "progress": shown}

    def add_line(self, line: str) -> None:
        with self._lock:
            if self._log is None:
                self._log = LogLines()
            clock = self.clock = self.clock or Clock()
            self._log.add(clock.now_ms(), line)
            self._changed = {**(self._changed or {}), "log": ""}  # its text is made when somebody asks for it

    def changes(self) -> list[str | bytes | int]:
        """What is new since the last call, as fields of the job's hash."""
        if not self._changed:  # one read of one reference; what is added meanwhile is found at the next call
            return []
        with self._lock:
            changed, self._changed = self._changed or {}, None
            if self._log and "log" in changed:
                changed |= self._log.fields()
        return [part.encode(errors="replace") for pair in changed.items() for part in pair]


def _throw(thread_id: int, exception: type[BaseException] | None) -> None:
    """Make a thread raise at its next bytecode; None takes back what has not been raised yet."""
    argument = ctypes.py_object(exception) if exception else None
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread_id), argument)
