"""A file by which `--check` tells a program whose loops turn from one that stands still or is gone.

The files stand in a folder of our own in the temporary folder, where other users may write too. One of them could make the
folder first, or a link in its place: a folder that does not belong to us is not used, links are not followed, and nobody
else may look into it.
"""

from __future__ import annotations

import os
import re
import stat
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from _jobqueue.logs import Log

STALE_S = 15.0  # above the longest that one turn of a loop can take: BLMOVE, or a call of Redis that times out
NOTE_S = 0.9  # not noted more often
_FILE = re.compile(r"(?:[a-z]+-)?(\d+)(?:\.new)?")


class Life:
    """Of this process, one of the ``program``'s."""

    def __init__(self, program: str, log: Log) -> None:
        self._program, self._log = program, log
        self._name = f"{program}-{os.getpid()}"
        self._noted_at = -NOTE_S
        self._told = self._tidied = False

    def note(self) -> None:
        """The loops turn. Where that cannot be written, it is a warning, once."""
        now = time.monotonic()
        if now < self._noted_at + NOTE_S:
            return
        self._noted_at = now
        try:
            with _folder() as folder:
                if not self._tidied:
                    _remove_what_the_dead_left(folder)
                    self._tidied = True
                _write(folder, self._name, f"{now:.3f} {_started(os.getpid())}")
            self._told = False
        except OSError as error:
            if not self._told:
                self._log.warning(
                    f"no sign of life can be written, so --check finds no {self._program}", why=str(error)
                )
            self._told = True

    def forget(self) -> None:
        """The process ends."""
        with suppress(OSError), _folder() as folder:
            os.unlink(self._name, dir_fd=folder)

    @contextmanager
    def throughout(self) -> Iterator[None]:
        """Noted as alive until the end of the block, by a thread."""
        over = threading.Event()

        def go_on() -> None:
            while not over.wait(NOTE_S):
                self.note()

        noting = threading.Thread(target=go_on, daemon=True)
        noting.start()
        try:
            yield
        finally:
            over.set()
            noting.join()

    def while_waiting(self, stop: Stop) -> Stop:
        """The same ``stop``; who waits for it is noted as alive."""
        return _Waiting(self, stop)


class Stop(Protocol):
    def wait(self, timeout: float | None = None) -> bool: ...
    def is_set(self) -> bool: ...


class _Waiting:
    def __init__(self, life: Life, stop: Stop) -> None:
        self._life, self._stop = life, stop

    def is_set(self) -> bool:
        return self._stop.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        self._life.note()
        return self._stop.wait(timeout)


def check(program: str) -> int:
    """For liveness probes: 0 when the loops of every process of the program here have turned in the last seconds."""
    try:
        with _folder() as folder:
            names = (name.removeprefix(f"{program}-") for name in os.listdir(folder) if name.startswith(f"{program}-"))
            found = [(int(pid), turned) for pid in names if pid.isdigit() and (turned := _read(folder, program, pid))]
    except OSError as error:
        print(f"no {program} can be seen here: {error}", file=sys.stderr)
        return 1
    if not found:
        print(f"no {program} is running here", file=sys.stderr)
        return 1
    for pid, turned in found:
        age = time.monotonic() - turned
        if age > STALE_S:
            print(f"{program} {pid} last turned {age:.0f} s ago", file=sys.stderr)
            return 1
    return 0


@contextmanager
def _folder() -> Iterator[int]:
    """A descriptor of the folder, which is made if need be. OSError: it is not ours alone, or there can be none."""
    path = Path(tempfile.gettempdir()) / f"jobqueue-{os.geteuid()}"
    with suppress(FileExistsError):
        os.mkdir(path, 0o700)
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        about = os.fstat(folder)
        if about.st_uid != os.geteuid():
            raise PermissionError(f"{path} belongs to another user")
        if stat.S_IMODE(about.st_mode) != 0o700:
            os.fchmod(folder, 0o700)
        yield folder
    finally:
        os.close(folder)


def _write(folder: int, name: str, text: str) -> None:
    """As a whole or not at all, into a file that did not exist before: a link of that name leads nowhere."""
    fresh = f"{name}.new"
    with suppress(FileNotFoundError):
        os.unlink(fresh, dir_fd=folder)
    with open(fresh, "x", opener=lambda path, flags: os.open(path, flags, 0o600, dir_fd=folder)) as file:
        file.write(text)
    os.rename(fresh, name, src_dir_fd=folder, dst_dir_fd=folder)


def _read(folder: int, program: str, pid: str) -> float | None:
    """When a process's loops last turned. None when it has gone, or another one got its number."""
    try:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
        with open(os.open(f"{program}-{pid}", flags, dir_fd=folder)) as file:
            turned, started = file.read(100).split(" ")
        return float(turned) if _lives(int(pid)) and started == _started(int(pid)) else None
    except (OSError, ValueError):
        return None


def _remove_what_the_dead_left(folder: int) -> None:
    for name in os.listdir(folder):
        if (found := _FILE.fullmatch(name)) and not _lives(int(found[1])):
            with suppress(OSError):
                os.unlink(name, dir_fd=folder)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:  # another user's
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True


def _started(pid: int) -> str:
    """When a process started, in the kernel's ticks; '' where there is no /proc."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""
