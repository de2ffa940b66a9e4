"""Nothing outlives the tests. What they start is killed when they are gone and could not do it themselves: kill -9, a
closed terminal.

    the tests ──pipe──> a shell in a session of its own: at the end of the pipe it kills what is still on its list
"""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

_WATCH = """
trap '' INT TERM HUP
living=' '
while read -r sign pid; do
    case $sign$living in
        +*) living="$living$pid " ;;
        -*" $pid "*) living="${living%%" $pid "*} ${living#*" $pid "}" ;;
    esac
done
for pid in $living; do kill -9 "-$pid" "$pid"; done 2>/dev/null
"""
# The program itself says that it is there, before it is the program: there is no moment in which nobody knows of it.
_BEGIN = 'echo "+ $$" >&0; exec "$@" </dev/null'


class _Guard:
    def __init__(self) -> None:
        told, self.tell = os.pipe()
        quiet = subprocess.DEVNULL
        command = ["sh", "-c", _WATCH]
        self.process = subprocess.Popen(command, stdin=told, stdout=quiet, stderr=quiet, start_new_session=True)
        os.close(told)


@functools.cache
def _guard() -> _Guard:
    return _Guard()


def start(command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
    """A process in a session of its own, which does not outlive this one."""
    begin = ["sh", "-c", _BEGIN, "sh", *command]
    return subprocess.Popen(begin, stdin=_guard().tell, start_new_session=True, **options)


def watch(pid: int) -> None:
    """The same for a process that somebody else has started."""
    os.write(_guard().tell, b"+ %d\n" % pid)


def forget(pid: int) -> None:
    """It has ended, and another may get its number."""
    os.write(_guard().tell, b"- %d\n" % pid)


def children(pid: int) -> list[int]:
    """None where it is gone, and where the system does not tell."""
    found = list[int]()
    for each in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            found += map(int, each.read_text().split())
    return found


def lives(pid: int) -> bool:
    """Not one that has ended and whose parent has not looked yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def end(pids: Iterable[int], within_s: float = 30.0) -> None:
    """Kill them, and wait until they are gone."""
    killed, deadline = list(pids), time.monotonic() + within_s
    for pid in killed:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    while any(map(lives, killed)):
        assert time.monotonic() < deadline, f"of {killed} one is still there after {within_s} s"
        time.sleep(0.002)
