"""Webhooks: receivers that mostly are well, and hang, reset, die in their answer or answer 500."""

from __future__ import annotations

import socket
from typing import Any

from _jobqueue.records import DELIVERY, ENDED
from tests.faults.mix.load import Load, Seen, named
from tests.faults.rows_of_webhooks import Moody, hurry
from tests.faults.stage import Stage
from tests.webhooks.receiver import OK, Request, reset

HANGS, RESETS, DIES, ERRORS, WELL = 1, 3, 3, 4, 60  # how often each, of all


class Webhooks(Load):
    """Has no step of its own: some of the plain jobs name its receiver."""

    def __init__(self, stage: Stage, seed: str) -> None:
        super().__init__(stage, seed)
        self.moody = Moody(stage, "http://127.0.0.2:9")
        bad: list[Any] = [self.moody.hang] * HANGS + [reset] * RESETS + [self.moody.dies] * DIES
        self.moody.moods = [OK] * WELL + [b"HTTP/1.1 500 x\r\n\r\n"] * ERRORS + bad
        self.url = self.moody.receiver.url()

    def start(self) -> None:
        pass

    def stop(self) -> None:
        self.moody.well = True

    def hurry(self) -> int:
        """Nobody waits for the delays of webhooks. Returns how much has not ended."""
        return hurry(self.stage)

    def judge(self, seen: Seen) -> list[str]:
        wanted = {
            job_id
            for job_id, job in seen.jobs.items()
            if job.get("webhook") and job["type"] != DELIVERY and job["status"] in ENDED
        }
        accepted = self.moody.accepted
        deliveries = [job for job in seen.jobs.values() if job["type"] == DELIVERY]
        untold = [job_id for job_id in wanted if not accepted.get(job_id)]
        twice = [job_id for job_id in wanted - self.stage.operated if len(accepted.get(job_id, ())) > 1]
        without = [job_id for job_id, job in seen.jobs.items() if _unexplained(job)]
        self.notes = {
            "webhooks told": len(wanted) - len(untold),
            "calls": len(self.moody.receiver.requests),
            "deliveries that failed at first": sum(int(job.get("errors", 0)) > 0 for job in deliveries),
        }
        return [
            *named(untold, "have ended and their webhook was not told"),
            *named(twice, "were told under two ids"),
            *named(without, "are webhooks that were given up without a reason"),
        ]

    def close(self) -> None:
        self.moody.receiver.__exit__()


def _unexplained(job: dict[str, str]) -> bool:
    return job["type"] == DELIVERY and job["status"] == "failed" and not int(job.get("errors", 0))


class Counted(Webhooks):
    """All receivers are well: nothing is remembered of what they got, so that a soak can go on for long."""

    def __init__(self, stage: Stage, seed: str) -> None:
        super().__init__(stage, seed)
        self.told = 0
        self.moody.receiver.answer = self.answer

    def answer(self, request: Request, sock: socket.socket) -> None:
        self.told += 1
        self.moody.receiver.requests.clear()
        sock.sendall(OK)
