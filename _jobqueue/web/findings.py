"""What is wrong, as one thing each: its level, the jobs that it hurts, since when; and which of them is the worst."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

from _jobqueue.records import Warned
from _jobqueue.rfc3339 import rfc3339

MAX_FINDINGS = 20
NEW_MS = 600_000  # a finding of this age counts half as much as a new one with as many jobs
OLD_MS = 3_600_000  # the age that is taken where nobody knows it
ERROR_WEIGHS = 10  # as much as a warning that hurts as many jobs

# What may be wrong. Of two that are equally bad, the earlier one comes first.
LEVELS = {
    "not_persistent": "error",
    "books": "error",
    "no_worker": "error",
    "no_reaper": "error",
    "no_handler": "error",
    "memory": "error",
    "record_lost": "error",
    "redis": "warning",
    "worker_lost": "warning",
    "runs_long": "warning",
    "leases_differ": "warning",
    "queue_full": "warning",
    "schedule_late": "warning",
    "schedules_missed": "warning",
    "old_job": "warning",
    "blocked": "warning",
    "dead_letters": "warning",
    "webhooks": "warning",
    "paused": "warning",
    "record_away": "warning",
    "record_behind": "warning",
    "record_refused": "warning",
}
# Of no single queue, and dangerous to every job that is not over.
OF_ALL_JOBS = ("not_persistent", "no_reaper", "memory", "record_lost", "redis")


class About(NamedTuple):
    """What a finding is about, beside its queue: for the button that puts it right."""

    type: str | None = None
    kind: str | None = None  # of error
    job_id: str | None = None
    worker: str | None = None


class Finding(NamedTuple):
    """Something that is wrong. ``short``: in few words, without the queue and the remedy. ``jobs``: how many it hurts; None where
    that is not known. ``nth``: tells those apart that have all else in common."""

    code: str
    text: str
    queue: str | None = None
    short: str = ""
    jobs: int | None = None
    since_ms: float | None = None
    about: About = About()
    nth: int = 0

    @property
    def id(self) -> str:
        """The same as long as it is the same thing that is wrong, whatever has become of the numbers in its text."""
        about = self.about.worker or self.about.kind or self.about.type
        return ":".join(part for part in (self.code, self.queue, about, str(self.nth or "")) if part)

    def badness(self, now_ms: int) -> float:
        """Jobs hurt, times how new it is, times the weight of its level."""
        age_ms = OLD_MS if self.since_ms is None else max(0, now_ms - self.since_ms)
        weight = ERROR_WEIGHS if LEVELS[self.code] == "error" else 1
        return weight * max(1, self.jobs or 0) * NEW_MS / (NEW_MS + age_ms)

    def as_dict(self) -> dict[str, Any]:
        """As the API tells it."""
        text = sentence(self.text)
        return {
            "id": self.id,
            "code": self.code,
            "level": LEVELS[self.code],
            "text": text,
            "short": sentence(self.short).rstrip(".") or text,
            "queue": self.queue,
            "type": self.about.type,
            "kind": self.about.kind,
            "job_id": self.about.job_id,
            "jobs": self.jobs,
            "since": rfc3339(None if self.since_ms is None else int(self.since_ms)),
        }


def ranked(found: Iterable[Finding], now_ms: int) -> list[Finding]:
    """The worst first, as many as are told."""
    worst = list(LEVELS)
    order = sorted(found, key=lambda each: (-each.badness(now_ms), worst.index(each.code), each.id))
    return order[:MAX_FINDINGS]


def of_no_queue(warnings: Iterable[Warned], jobs: int) -> list[Finding]:
    """Several may have one code: they are told apart by their order. ``jobs``: all that are not over."""
    seen = Counter[str]()
    found = []
    for code, text in warnings:
        found.append(Finding(code, text, jobs=jobs if code in OF_ALL_JOBS else None, nth=seen[code]))
        seen[code] += 1
    return found


def sentence(text: str) -> str:
    """With a capital letter and a full stop; '' stays."""
    if not text:
        return ""
    return text[0].upper() + text[1:] + ("" if text.endswith(".") else ".")
