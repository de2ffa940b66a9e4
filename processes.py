"""Several processes of one script under a small parent: `--processes N` of the API and of the worker, and `--reload`."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

from config import Log, Signals

MISTAKE = 2  # exit code when flags or handlers are wrong: to start again would change nothing
PARENT = "JOBQUEUE_PARENT"  # in a child's environment: its parent's process id
POSITION = "JOBQUEUE_POSITION"  # and which of its children it is


def is_child() -> bool:
    return PARENT in os.environ


def is_orphan() -> bool:
    """The parent has died: nobody would stop this process."""
    return is_child() and os.getppid() != int(os.environ[PARENT])


def keep_to_one_core(*, of_all: bool = False) -> None:
    """Threads that start after this stay on one core; a handler's C code cannot use a second one. Children of one parent get
    different ones; who has none draws one: process ids would be the same in each container. ``of_all``: not where somebody
    has chosen the cores before."""
    if not hasattr(os, "sched_setaffinity"):
        return
    cores = sorted(os.sched_getaffinity(0))
    if of_all and len(cores) < (os.cpu_count() or 1):
        return
    core = cores[int(os.environ.get(POSITION, 0)) % len(cores)] if is_child() else random.choice(cores)
    os.sched_setaffinity(0, {core})


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
