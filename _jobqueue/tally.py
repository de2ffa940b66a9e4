"""What a tag has counted of its jobs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from _jobqueue.records import ENDED, STATUSES
from _jobqueue.rfc3339 import rfc3339

GONE_AS = ("trimmed", "deleted")  # counted as long as another job of the tag is kept
COUNTED = (*STATUSES, *GONE_AS)
OVER = (*ENDED, *GONE_AS)


class Tally(NamedTuple):
    """``jobs``: COUNTED -> how many. ``first_ms``: when the first one was submitted; ``last_ms``: when one last ended. Not
    ``exact``: programs of the release before have made or moved some that are not counted yet."""

    tag: str
    jobs: dict[str, int]
    first_ms: int | None = None
    last_ms: int | None = None
    exact: bool = True

    @property
    def total(self) -> int:
        return sum(self.jobs.values())

    @property
    def ended(self) -> int:
        return sum(self.jobs[name] for name in OVER)

    def has_ended(self, total: int | None) -> bool:
        """As many as ``total`` have; without it, all of them."""
        return self.ended >= (self.total if total is None else total)

    def as_dict(self) -> dict[str, Any]:
        return {
            "tag": self.tag,
            "jobs": self.jobs,
            "total": self.total,
            "ended": self.ended,
            "first_at": rfc3339(self.first_ms) if self.first_ms is not None else None,
            "last_at": rfc3339(self.last_ms) if self.last_ms is not None else None,
            "exact": self.exact,
        }


class Wait(NamedTuple):
    """For a tag's jobs to have ended, in one queue or in all: as many as ``total``; without it, all that there are."""

    tag: str
    queue: str | None
    total: int | None


def sum_of(tag: str, tallies: Iterable[Tally]) -> Tally:
    """Of several queues together."""
    parts = list(tallies)
    firsts = [each.first_ms for each in parts if each.first_ms is not None]
    lasts = [each.last_ms for each in parts if each.last_ms is not None]
    jobs = {name: sum(each.jobs[name] for each in parts) for name in COUNTED}
    return Tally(tag, jobs, min(firsts, default=None), max(lasts, default=None), all(each.exact for each in parts))
