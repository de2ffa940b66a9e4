"""A file by which `--check` tells a worker whose loops turn from one that stands still or is gone."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

STALE_S = 15.0  # above the longest that one turn of a slot's loop can take: BLMOVE, or a call that times out
FOLDER = Path(tempfile.gettempdir()) / f"jobqueue-{os.getuid()}"


def note() -> None:
    """This process's loops turn."""
    pid = os.getpid()
    try:
        FOLDER.mkdir(mode=0o700, exist_ok=True)
        fresh = FOLDER / f"{pid}.new"
        fresh.write_text(f"{time.monotonic():.3f} {_started(pid)}")
        fresh.replace(FOLDER / str(pid))
    except OSError:
        pass  # a read-only file system: --check says that there is no worker


def forget() -> None:
    """This process leaves."""
    (FOLDER / str(os.getpid())).unlink(missing_ok=True)


def check() -> int:
    """For liveness probes: 0 when the loops of every worker process here have turned in the last seconds."""
    workers = [worker for path in FOLDER.glob("*") if path.name.isdigit() and (worker := _life(path))]
    if not workers:
        print("no worker is running here", file=sys.stderr)
        return 1
    for pid, turned in workers:
        age = time.monotonic() - turned
        if age > STALE_S:
            print(f"worker {pid} last turned {age:.0f} s ago", file=sys.stderr)
            return 1
    return 0


def _life(path: Path) -> tuple[int, float] | None:
    """A worker and when its loops last turned. None when it has gone, or another process got its number."""
    pid = int(path.name)
    try:
        os.kill(pid, 0)
        turned, started = path.read_text().split(" ")
    except OSError:
        return None
    return (pid, float(turned)) if started == _started(pid) else None


def _started(pid: int) -> str:
    """When a process started, in the kernel's ticks; '' where there is no /proc."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""
