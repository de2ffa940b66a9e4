"""What a process is to the system: signals, its core, and several of one script under a small parent (`--processes N`,
`--reload`)."""

from __future__ import annotations

import atexit
import os
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from _jobqueue.logs import Log

MISTAKE = 2  # exit code when flags or handlers are wrong: to start again would change nothing
PARENT = "JOBQUEUE_PARENT"  # in a child's environment: its parent's process id
POSITION = "JOBQUEUE_POSITION"  # and which of its children it is
WAKE_S = 0.5
JOIN_S = 1.0  # threads that have not ended by then, after everything else has, hang


def is_child() -> bool:
    return PARENT in os.environ


def is_orphan() -> bool:
    """The parent has died: nobody would stop this process."""
    return is_child() and os.getppid() != int(os.environ[PARENT])


def keep_to_one_core(*, of_all: bool = False) -> None:
    """Its threads, and those that start after this, stay on one core; a handler's C code cannot use a second one. Children of
    one parent get different ones; a process without one draws one, for process ids are the same in each container. ``of_all``:
    only where nobody has chosen among the cores before."""
    if not hasattr(os, "sched_setaffinity"):
        return
    cores = sorted(os.sched_getaffinity(0))
    if of_all and len(cores) < (os.cpu_count() or 1):
        return
    core = cores[int(os.environ.get(POSITION, 0)) % len(cores)] if is_child() else random.choice(cores)
    for thread in threading.enumerate():
        os.sched_setaffinity(thread.native_id or 0, {core})


class Signals:
    """SIGTERM, SIGINT and SIGHUP as something that the main thread can wait for.

    The handler only counts and releases locks, which is safe at any instant; setting a threading.Event there is not. (Before
    Python 3.13, SimpleQueue.get waits for ever when any signal comes as its timeout ends.)"""

    def __init__(self) -> None:
        self._bell, self._first = threading.Lock(), threading.Lock()  # held until something arrives
        self._bell.acquire()
        self._first.acquire()
        self._arrived = self._taken = 0
        self.count = 0
        self._defaults: dict[int, Any] = {signal.SIGTERM: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._handle)
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup wants the process to outlive its terminal
            self._defaults[signal.SIGHUP] = signal.signal(signal.SIGHUP, self._hang_up)
        self._held = threading.local()
        os.register_at_fork(before=self._hold, after_in_parent=self._release, after_in_child=self._let_go)

    def _hold(self) -> None:
        """While this thread forks: Python drops a signal that reaches the new process in its first moments."""
        self._held.mask = signal.pthread_sigmask(signal.SIG_BLOCK, self._defaults)

    def _release(self) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._held.mask)

    def _let_go(self) -> None:
        """A process that was forked, as by multiprocessing, ends when it is told to: its parent waits for that."""
        for number, handler in self._defaults.items():
            signal.signal(number, handler)
        self._release()

    def _handle(self, number: int, frame: object) -> None:
        self.count += 1
        self.stop()

    def _hang_up(self, number: int, frame: object) -> None:
        """A terminal that closes may send it twice, and systemd after SIGTERM: it asks for a stop and hurries none."""
        if not self.count:
            self._handle(number, frame)

    def stop(self) -> None:
        """As if a signal had arrived; from any thread."""
        self._arrived += 1
        for lock in (self._first, self._bell):
            with suppress(RuntimeError):  # it was free already
                lock.release()

    def end_within(self, limit_s: float, log: Log) -> None:
        """The process ends so long after it was first told to, even if something hangs: a function of atexit, a thread that
        is joined, somebody who does not read what is printed."""

        def guard() -> None:
            self._first.acquire()
            threading.Event().wait(limit_s)
            log.warning("what should have stopped hangs: ending", after_s=limit_s)
            log.flush()
            os._exit(1)

        threading.Thread(target=guard, name="end", daemon=True).start()

    def wait(self, timeout: float | None = None) -> bool:
        """Block until the next signal, or for ``timeout`` seconds. True when one arrived.

        Never for long at a time: the kernel may hand a signal to another thread, which does not wake this one, and its
        handler runs here alone."""
        while self._taken == self._arrived:
            rung = self._bell.acquire(timeout=WAKE_S if timeout is None else max(0.0, timeout))
            if not (rung or timeout is None):
                break
        arrived = self._taken < self._arrived
        self._taken += arrived
        return arrived

    def is_set(self) -> bool:
        return self.count > 0


def end(code: int, log: Log) -> int:
    """The exit code of a process that has done its work. Where threads hang, which a normal exit would join for ever, this
    ends the process itself, once it has done what an exit does."""
    deadline = time.monotonic() + JOIN_S
    others = [thread for thread in threading.enumerate() if not (thread.daemon or thread is threading.current_thread())]
    for thread in others:
        thread.join(max(0.0, deadline - time.monotonic()))
    hanging = any(thread.is_alive() for thread in others)
    if hanging:
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        _flush(stream)
    if hanging:
        log.flush()
        os._exit(code)
    return code


def _flush(stream: TextIO | None) -> None:
    if stream is None:
        return
    try:
        stream.flush()
    except (OSError, ValueError):  # nobody can read it: the exit must not try again, and fail
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


class Parent:
    """Runs processes of one script in sessions of their own: starts them again when they die, or (``reload``) when a file
    changes; with ``burst`` it ends when they have all ended well."""

    def __init__(
        self, script: str, count: int, log: Log, signals: Signals, *, burst: bool = False, reload: bool = False
    ) -> None:
        self.log, self.signals, self.burst = log, signals, burst
        self.files = self._modified() if reload else None
        self.ran_with: dict[int, dict[Path, float] | None] = {}  # position of a child -> files when it started
        given = [argument for argument in sys.argv[1:] if argument != "--reload"]
        self.command = [sys.executable, os.path.abspath(script), *given, "--processes", "1"]
        self.children = [self._start(at) for at in range(count)]

    def _start(self, at: int) -> subprocess.Popen[bytes]:
        self.ran_with[at] = self.files
        environment = os.environ | {PARENT: str(os.getpid()), POSITION: str(at)}
        if self.files is not None:  # cached bytecode goes by the second: a second change within it would be missed
            environment["PYTHONDONTWRITEBYTECODE"] = "1"
        return subprocess.Popen(self.command, env=environment, start_new_session=True)

    def run(self) -> int:
        while not self.signals.wait(0.5):
            if self.files is not None and self._modified() != self.files:
                self.files = self._modified()
                self.log("a file has changed: restarting")
                self._terminate()
            for at, child in enumerate(self.children):
                if child.poll() is None or (self.burst and child.returncode == 0):
                    continue
                if child.returncode == MISTAKE and self.ran_with[at] is self.files:
                    if self.files is None:
                        return self._stop()
                    continue  # until a file changes
                if self.files is None:
                    self.log.warning("a process ended; starting another", pid=child.pid, code=child.returncode)
                self.children[at] = self._start(at)
            if self.burst and all(child.poll() == 0 for child in self.children):
                return 0
        return self._stop()

    def _terminate(self) -> None:
        for child in self.children:
            if child.poll() is None:
                child.terminate()

    def _stop(self) -> int:
        self._terminate()
        hurried = False
        while any(child.poll() is None for child in self.children):
            self.signals.wait(0.1)
            if self.signals.count > 1 and not hurried:
                hurried = True
                self._terminate()
        codes = {child.returncode for child in self.children} - {-signal.SIGTERM}  # it had not even started
        return max((abs(code) for code in codes), default=0)

    def _modified(self) -> dict[Path, float]:
        found: dict[Path, float] = {}
        for path in Path().rglob("*.py"):
            try:
                if not any(part.startswith(".") for part in path.parts):
                    found[path] = path.stat().st_mtime
            except OSError:
                pass  # an editor has just moved it away
        return found
