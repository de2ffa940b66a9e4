"""What the benchmarks share: this machine, what its processes use, virtual environments beside the project's own."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.harness import Server

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
SPIN = """
import os, sys
os.sched_setaffinity(0, {int(sys.argv[1])})
os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
while os.getppid() == int(sys.argv[2]):
    sum(range(100_000))
"""


def described() -> str:
    cpu = open("/proc/cpuinfo").read().partition("model name")[2].partition(":")[2].partition("\n")[0].strip()
    return f"{os.cpu_count()} cores of {cpu or platform.machine()}"


def redis_version() -> str:
    server = Server()
    try:
        return str(server.client.info("server")["redis_version"])
    finally:
        server.close()


def used_bytes(server: Server) -> int:
    return int(server.client.info("memory")["used_memory"])


def tree(pid: int) -> list[int]:
    """The process and all that descend from it."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [pid, *(each for task in tasks for child in task.read_text().split() for each in tree(int(child)))]


def cpu_s(pids: Iterable[int]) -> float:
    return (
        sum(sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13])) for pid in pids)
        / TICKS_PER_S
    )


def rss_bytes(pids: Iterable[int]) -> int:
    pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids)
    return pages * os.sysconf("SC_PAGE_SIZE")


def virtualenv(folder: Path, packages: Iterable[str]) -> Path:
    """Its Python. Made on first use with the packages' latest versions; delete the folder for newer ones."""
    python, made = folder / "bin/python", folder / "made"
    if not made.exists():
        print(f"installing {' '.join(packages)} into {folder}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "-qq", *packages], check=True)
        made.touch()
    return python


@contextmanager
def awake() -> Iterator[None]:
    """Keep every core from halting, with a loop on each that gives way to all else.

    A virtual core that halted takes 0.1 to 0.6 ms to wake up, several times a round trip to Redis and differing by the
    minute: without this, what is measured is how often each system waits, and on which kind of host. Not for a worker with
    more to do than it can: with no core that is idle, the kernel wakes its threads where others run.
    """
    cores = sorted(os.sched_getaffinity(0))
    loops = [subprocess.Popen([sys.executable, "-c", SPIN, str(core), str(os.getpid())]) for core in cores]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()
