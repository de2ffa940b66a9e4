"""All queues at a glance, in numbers: how many jobs, how fast, who works, what Redis is.

JobQueue reads each queue in one step. The cost depends on the number of queues and workers, never on the number of jobs."""

from __future__ import annotations

import math
import os
import platform
import time
from typing import Any

import jobqueue
from _jobqueue.books import Books, Look
from _jobqueue.config import Config
from _jobqueue.records import STATUSES
from _jobqueue.rfc3339 import rfc3339
from _jobqueue.store.new_dead import new_dead
from _jobqueue.web import turns
from _jobqueue.web.by_type import ROWS_MOST, Types, rows_of
from _jobqueue.web.diagnosis import Patience, explanation, until_when, what_blocks
from _jobqueue.web.health import Seen, fails_since, health
from _jobqueue.web.limited import what_holds_back, with_limits
from _jobqueue.web.rates import WINDOW, by_minute, crew, last, minute_row, pace_of_work, paces, rates
from jobqueue import JobQueue

HOUR = 60  # minutes
NEXT_JOBS = 20  # so many of a queue are looked at for types without a handler
SERVER_KEPT_S = 5.0


class Overview:
    """All queues at a glance. Thread-safe."""

    def __init__(self, jobs: JobQueue, patience: Patience) -> None:
        self.jobs, self.patience, self.started_ms = jobs, patience, int(time.time() * 1000)
        self._lease_s = jobs.policy.timeout_ms / 1000
        self.types = Types(jobs)
        # Replaced as a whole, never changed: threads that do so at the same time have read the same.
        self._past: dict[int, dict[str, Any]] = {}  # minutes that are over, of all queues together
        self._submitted = 0
        self._server: tuple[float, dict[str, Any]] = (-math.inf, {})

    def stats(self) -> dict[str, Any]:
        """Everything that changes, in one answer."""
        looks, hour = self._hour()
        now_ms, types = _now_ms(looks), rows_of(looks, self.types.look())
        return {
            "now": rfc3339(now_ms),
            "version": jobqueue.__version__,
            "health": self._health(looks, self.server()),
            "jobs": {status: sum(look.books.sizes[status] for look in looks.values()) for status in STATUSES},
            "rates": rates(last(by_minute(looks)), now_ms),
            "minutes": hour,
            "queues": [_queue_with_rates(queue, look) for queue, look in looks.items()],
            "workers": [row for queue, look in looks.items() for row in worker_rows(queue, look)],
            "types": types[:ROWS_MOST],
            "types_more": len(types[ROWS_MOST:]),
        }

    def health(self, server: dict[str, Any]) -> list[dict[str, Any]]:
        """What is wrong with the queues, and with Redis as ``JobQueue.server()`` found it."""
        return self._health(self._looks(WINDOW), server)

    def _health(self, looks: dict[str, Look], server: dict[str, Any]) -> list[dict[str, Any]]:
        failing, since_ms = fails_since(looks)
        seen = Seen(
            self._lease_s,
            self.jobs.schedules.first_due(list(looks)),
            self.types.look(),
            new_dead(self.jobs.store, failing, since_ms) if failing else {},
        )
        found = health(looks, server["warnings"], self.patience, seen)
        old = [each["queue"] for each in found if each["code"] == "old_job"]
        return with_limits(found, self.jobs.limits.first_of(old) if old else {})

    def explain(self, job_id: str) -> dict[str, Any]:
        """Why a job is not running yet, or what happened to it. NotFound when there is none."""
        job = self.jobs.get(job_id)
        look = self.jobs.look(job.queue, minutes=WINDOW)
        misses_reaper = self.patience.misses_reaper(job.queue, look.books)
        if job.status == "blocked":
            code, text = what_blocks(job, list(self.jobs.parents(job_id, results=False).values()), misses_reaper)
        else:
            code, text = explanation(job, look, misses_reaper)
            shut = self.jobs.limits.why(job.queue, job_id) if code in ("ready", "waiting") else None
            if shut:
                code, text = "limited", what_holds_back(shut)
            elif code == "waiting":
                text += turns.sentence(self.jobs, job)
        return {"code": code, "explanation": text + until_when(job, look.books.now_ms), "job": job.as_dict()}

    def system(self, config: Config) -> dict[str, Any]:
        """What it runs on, and how it is set."""
        books = self.jobs.all_books()
        server = self.server()
        return {
            "redis": server | {"warnings": [text for _, text in server["warnings"]]},
            "config": config.in_effect(),
            "queues": [
                {
                    "queue": queue,
                    "reaper_at": rfc3339(each.reaper_ms),
                    "balance": each.missing,
                    "checked_at": rfc3339(each.checked_ms),
                    "problems": each.problems,
                }
                for queue, each in books.items()
            ],
            "api": {
                "version": jobqueue.__version__,
                "python": platform.python_version(),
                "started_at": rfc3339(self.started_ms),
                "pid": os.getpid(),
            },
        }

    def server(self) -> dict[str, Any]:
        """What Redis is and keeps, at most SERVER_KEPT_S old."""
        asked_at, server = self._server
        if time.monotonic() - asked_at > SERVER_KEPT_S:
            server = self.jobs.server()
            self._server = time.monotonic(), server
        return server

    def _looks(self, minutes: int) -> dict[str, Look]:
        return self.jobs.looks(minutes=minutes, jobs=NEXT_JOBS)

    def _hour(self) -> tuple[dict[str, Look], list[dict[str, Any]]]:
        """All queues, and what all of them did in each minute of the last hour, this one last. What is over does not change
        any more: it is kept, and read again only when some of it is missing."""
        for minutes in (WINDOW, HOUR):
            looks = self._looks(minutes)
            submitted = sum(look.books.totals.get("submitted", 0) for look in looks.values())
            past = self._past if submitted >= self._submitted else {}  # else this Redis has forgotten, or is another
            counts, last = by_minute(looks), _now_ms(looks) // 60_000
            # Of the minute before these, only queues that were read before its turn have told.
            fresh = range(last - minutes + 1, last + 1)
            rows = past | {minute: minute_row(minute, counts[minute]) for minute in fresh if minute in counts}
            hour = {minute: rows.get(minute) or minute_row(minute, {}) for minute in range(last - HOUR + 1, last + 1)}
            if rows.keys() >= hour.keys():
                break
        # One that has just ended may still be written to by a Redis whose clock is behind.
        self._past = {minute: row for minute, row in hour.items() if minute < last - 1 and looks}
        self._submitted = submitted
        return looks, list(hour.values())


def _now_ms(looks: dict[str, Look]) -> int:
    return max((look.books.now_ms for look in looks.values()), default=int(time.time() * 1000))


def queue_row(queue: str, books: Books) -> dict[str, Any]:
    return {
        "queue": queue,
        "paused": books.paused,
        "paused_types": books.paused_types,
        "max_queued": books.max_queued,
        "jobs": books.sizes,
        "totals": {name: n for name, n in books.totals.items() if ":" not in name},
        "oldest_queued_at": rfc3339(books.waits_since_ms),
        "reaper": books.reaper_lives,
        "reaper_at": rfc3339(books.reaper_ms),
    }


def _queue_with_rates(queue: str, look: Look) -> dict[str, Any]:
    books, (workers, threads, busy) = look.books, crew(look)
    (done, failed, submitted), waiting = (
        paces(look.minutes, books.now_ms, "done", "failed", "submitted"),
        books.sizes["queued"],
    )
    pace = pace_of_work(look)
    drain_s = round(60 * waiting / pace, 1) if pace and not books.paused else None
    return queue_row(queue, books) | {
        "oldest_age_s": None if books.oldest_age_ms is None else books.oldest_age_ms / 1000,
        "done_per_minute": round(done, 1),
        "submitted_per_minute": round(submitted, 1),
        "growth_per_minute": round(submitted - done - failed, 1),
        **({"untold": books.untold._asdict()} if any(books.untold) else {}),
        "drain_s": drain_s if waiting else 0,
        "workers": workers,
        "threads": threads,
        "busy": busy,
    }


def worker_rows(queue: str, look: Look) -> list[dict[str, Any]]:
    return [_worker_row(queue, name, info, look.lives(name)) for name, info in look.workers.items()]


def _worker_row(queue: str, name: str, info: dict[str, Any], lives: bool) -> dict[str, Any]:
    row = {"worker": name, "queue": queue, "last_beat_at": rfc3339(info["beat_ms"]), "lost": not lives, **info}
    return row if lives else row | {"running": []}  # what it ran when last heard of is taken back, or runs elsewhere
