"""What there is to say of queues in which only so many jobs may wait."""

from __future__ import annotations

from collections.abc import Iterator

from _jobqueue.books import Look
from _jobqueue.web.rates import last
from _jobqueue.web.samples import Family


def warning(queue: str, look: Look) -> str | None:
    """What is wrong with a queue that is full, or has turned jobs away in the last minutes."""
    most = look.books.max_queued
    if most is None:
        return None
    away = sum(counts.get("turned_away", 0) for counts in last(look.minutes).values())
    if not look.books.is_full and not away:
        return None
    state = "is full" if look.books.is_full else "was full"
    told = f", and {away} {'was' if away == 1 else 'were'} turned away in the last minutes" if away else ""
    advice = f"start more workers (python worker.py --queues {queue}), or raise it"
    return f"queue {queue} {state}: {look.books.waiting} of {most} jobs wait (max_queued){told}: {advice}"


def families(looks: dict[str, Look]) -> Iterator[Family]:
    """For Prometheus."""
    limits = [({"queue": q}, each.books.max_queued) for q, each in looks.items() if each.books.max_queued is not None]
    yield "queue_max_queued", "gauge", "Jobs that may wait, where that is limited.", [*limits]
    away = [({"queue": q}, each.books.totals.get("turned_away", 0)) for q, each in looks.items()]
    yield "jobs_turned_away_total", "counter", "Jobs refused because the queue was full.", [*away]
