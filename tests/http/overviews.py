"""What people are told, asked by a test, and how a past is made."""

from __future__ import annotations

from _jobqueue.web.diagnosis import Patience
from _jobqueue.web.overview import Overview as PatientOverview
from jobqueue import JobQueue
from tests.harness import Server
from tests.played import Q, now_ms


def Overview(jobs: JobQueue) -> PatientOverview:
    """One that misses a reaper at once."""
    return PatientOverview(jobs, Patience(0))


LONG = "it went\nwrong" + "!" * 500


def findings(queue: JobQueue) -> list[tuple[str, str | None]]:
    return [(each["code"], each["queue"]) for each in Overview(queue).stats()["health"]]


def text_of(queue: JobQueue, code: str) -> str:
    (text,) = [each["text"] for each in Overview(queue).stats()["health"] if each["code"] == code]
    return str(text)


def waits_since(server: Server, job_id: str, ago_ms: int) -> None:
    server.client.hset(f"{Q}job:{job_id}", "created", now_ms(server) - ago_ms)


def past(server: Server, minutes_ago: int, queue: str = "default", **counts: int) -> str:
    """Write the counters of a minute; its key."""
    key = f"jq:{{{queue}}}:stats:{now_ms(server) // 60_000 - minutes_ago}"
    server.client.hset(key, mapping={name.replace("__", ":"): n for name, n in counts.items()})
    return key
