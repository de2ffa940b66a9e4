"""What the tests of workers speak in."""

from __future__ import annotations

from pathlib import Path

from _jobqueue.job_types import JobType
from _jobqueue.logs import Log
from _jobqueue.work.attempts import Attempts
from _jobqueue.work.reports import Reports
from _jobqueue.work.shift import Shift
from _jobqueue.work.watch import Watch
from jobqueue import Job, JobQueue, Policy
from tests.harness import Server, eventually


class Gate:
    """What the handler ``hold`` waits for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.payload = {"gate": str(path)}

    def open(self) -> None:
        self.path.touch()

    def starts(self) -> list[str]:
        """The attempts that started: id, attempt, process."""
        path = Path(f"{self.path}.starts")
        return path.read_text().splitlines() if path.exists() else []

    def held(self, n: int, within_s: float = 15.0) -> None:
        eventually(lambda: len(self.starts()), equals=n, within_s=within_s)


def ends(queue: JobQueue, job_id: str, status: str = "done", within_s: float = 20.0) -> Job:
    eventually(lambda: queue.get(job_id).status, equals=status, within_s=within_s)
    return queue.get(job_id)


def last_error(job: Job) -> tuple[str, str]:
    return job.errors[-1]["kind"], job.errors[-1]["message"]


def keys_left(server: Server) -> list[str]:
    """Keys of workers and slots: none when all workers have left properly."""
    prefix = "jq:{default}:"
    found = [key for part in ("processing:*", "worker:*") for key in server.client.scan_iter(f"{prefix}{part}")]
    return found + [key for key in (f"{prefix}workers", f"{prefix}slots") if server.client.exists(key)]


def shift(types: dict[str, JobType], lease_ms: int = 10_000) -> Shift:
    """What a worker's threads share, without a worker."""
    return Shift("w", Attempts(types, Policy(), 2**20), Reports(Log("test"), ["default"]), lease_ms)


def watching(ours: Shift) -> Watch:
    """A watch that starts, wakes and ends nobody."""
    return Watch(ours, lambda queue, ended: None, lambda: None, lambda code: None, spare=1)
