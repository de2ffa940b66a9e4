"""A queue of which a record is kept, and what plays in it."""

from __future__ import annotations

from dataclasses import dataclass

from _jobqueue.records import BACKOFF, Claimed, Settlement
from jobqueue import Job, JobQueue, NewJob
from tests.harness import Server
from tests.played import Q, Worker

HOLD = 1000


@dataclass
class Scene:
    """Jobs, the worker that runs them, and their marks."""

    jobs: JobQueue
    server: Server
    hand: Worker

    def submit(self, n: int = 1, **options: object) -> list[Job]:
        return [each.job for each in self.jobs.submit_many([NewJob(**options) for _ in range(n)]) if each.job]  # type: ignore[arg-type]

    def flow(self, *jobs: NewJob) -> list[str]:
        """Submit jobs together, some of which wait for others; their ids."""
        return [each.job.id for each in self.jobs.submit_many(jobs) if each.job]

    def marked(self) -> dict[str, int]:
        rows = self.server.client.zrange(f"{Q}unsaved", 0, -1, withscores=True)
        return {job_id: int(rev) for job_id, rev in rows}

    def save(self) -> None:
        """All that is marked is in the record."""
        while jobs := self.jobs.marks.read("default").jobs:
            self.jobs.marks.confirm("default", jobs)
        assert not self.marked()

    def run(self, *, attempts: int = 2, n: int = 1) -> list[Claimed]:
        """Jobs that run, and of which the record knows."""
        self.submit(n, max_attempts=attempts)
        claimed = self.hand.claim(n)
        self.save()
        return claimed

    def settle(self, outcome: str, delay_ms: int = BACKOFF, attempts: int = 2) -> set[str]:
        [job] = self.run(attempts=attempts)
        assert self.hand.settle(Settlement(job.id, job.token, outcome, delay_ms, "Boom", "it went wrong")) == [True]
        return {job.id}


def kept(jobs: JobQueue, server: Server, hand: Worker) -> Scene:
    """A record of the queue is kept."""
    jobs.register("default")
    jobs.marks.keep("default", HOLD)
    return Scene(jobs, server, hand)
