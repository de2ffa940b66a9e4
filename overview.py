"""What a person wants to know: is anything wrong and what to do about it, how fast it goes, why this job does not run.

Computed from what JobQueue reads in one step for each queue; the cost depends on the number of queues and workers, never on
the number of jobs."""

from __future__ import annotations

import math
import os
import platform
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import jobqueue
from _jobqueue.config import Config
from _jobqueue.histograms import BUCKETS_MS
from _jobqueue.records import MAX_QUEUES, STATUSES, Books, Look, Warned
from _jobqueue.rfc3339 import rfc3339
from jobqueue import Job, JobQueue, NewJob, Unavailable

HOUR = 60  # minutes
WINDOW = 6  # minutes that rates are taken over: five whole ones and this one
NEXT_JOBS = 20  # so many of a queue are looked at for types without a handler
OLD_MS = 60_000
MAX_FINDINGS = 20
SERVER_KEPT_S = 5.0
ADVICE_KEPT_S = 2.0
MAX_ADVICE = 20  # sentences in the answer to one submit
SHOWN_CHARS = 200  # of an error's message
WORKER_CHARS = 8  # of its id: enough to find it

NO_REAPER = (
    "no reaper is running: retries, delayed jobs and lost workers' jobs wait until one is started (python reaper.py)"
)

# What may be wrong, the worst first.
LEVELS = {
    "not_persistent": "error",
    "books": "error",
    "no_worker": "error",
    "no_reaper": "error",
    "no_handler": "error",
    "memory": "error",
    "redis": "warning",
    "worker_lost": "warning",
    "old_job": "warning",
    "dead_letters": "warning",
    "paused": "warning",
}


class Overview:
    """All queues at a glance. Thread-safe."""

    def __init__(self, jobs: JobQueue) -> None:
        self.jobs, self.started_ms = jobs, int(time.time() * 1000)
        # Replaced as a whole, never changed: threads that do so at the same time have read the same.
        self._past: dict[int, dict[str, Any]] = {}  # minutes that are over, of all queues together
        self._submitted = 0
        self._server: tuple[float, dict[str, Any]] = (-math.inf, {})

    def stats(self) -> dict[str, Any]:
        """Everything that changes, in one answer."""
        looks, hour = self._hour()
        now_ms = _now_ms(looks)
        return {
            "now": rfc3339(now_ms),
            "version": jobqueue.__version__,
            "health": health(looks, self.server()["warnings"]),
            "jobs": {status: sum(look.books.sizes[status] for look in looks.values()) for status in STATUSES},
            "rates": _rates(_last(_by_minute(looks)), now_ms),
            "minutes": hour,
            "queues": [_queue_with_rates(queue, look) for queue, look in looks.items()],
            "workers": [row for queue, look in looks.items() for row in worker_rows(queue, look)],
        }

    def health(self, server: dict[str, Any]) -> list[dict[str, Any]]:
        """What is wrong with the queues, and with Redis as ``JobQueue.server()`` found it."""
        return health(self._looks(WINDOW), server["warnings"])

    def explain(self, job_id: str) -> dict[str, Any]:
        """Why a job is not running yet, or what happened to it. NotFound when there is none."""
        job = self.jobs.get(job_id)
        code, text = explanation(job, self.jobs.look(job.queue, minutes=WINDOW))
        return {"code": code, "explanation": text, "job": job.as_dict()}

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
            counts, last = _by_minute(looks), _now_ms(looks) // 60_000
            # Of the minute before these, only queues that were read before its turn have told.
            fresh = range(last - minutes + 1, last + 1)
            rows = past | {minute: _minute(minute, counts[minute]) for minute in fresh if minute in counts}
            hour = {minute: rows.get(minute) or _minute(minute, {}) for minute in range(last - HOUR + 1, last + 1)}
            if rows.keys() >= hour.keys():
                break
        # One that has just ended may still be written to by a Redis whose clock is behind.
        self._past = {minute: row for minute, row in hour.items() if minute < last - 1 and looks}
        self._submitted = submitted
        return looks, list(hour.values())


def _now_ms(looks: dict[str, Look]) -> int:
    return max((look.books.now_ms for look in looks.values()), default=int(time.time() * 1000))


# ---------------------------------------------------------------------------------------------------------- health


def health(looks: dict[str, Look], server_warnings: Iterable[Warned]) -> list[dict[str, Any]]:
    """What is wrong, the worst first, each with what to do; [] when all is well."""
    found: list[tuple[str, str, str | None]] = [(code, text, None) for code, text in server_warnings]
    left = [queue for queue, look in looks.items() if look.books.reaper_ms is not None and not look.books.reaper_lives]
    if any(look.books.reaper_lives for look in looks.values()):  # it will find the queues that are new to it
        found += [("no_reaper", f"queue {queue}: {NO_REAPER}", queue) for queue in left]
    elif looks:
        found.append(("no_reaper", NO_REAPER, None))
    found += [(code, text, queue) for queue, look in looks.items() for code, text in _problems(queue, look)]
    worst = list(LEVELS)
    found.sort(key=lambda each: worst.index(each[0]))
    return [
        {"code": code, "level": LEVELS[code], "text": _sentence(text), "queue": queue}
        for code, text, queue in found[:MAX_FINDINGS]
    ]


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + ("" if text.endswith(".") else ".")


def _problems(queue: str, look: Look) -> Iterator[tuple[str, str]]:
    """What is wrong with one queue: code and sentence."""
    books, (workers, threads, busy) = look.books, _crew(look)
    waiting = books.sizes["queued"]
    if books.missing:
        yield (
            "books",
            f"queue {queue}: the books do not balance, {books.missing:+d} submitted jobs are nowhere: find out which "
            f"(python jobqueue.py check --queue {queue})",
        )
    if books.paused:
        yield "paused", f"queue {queue} is paused: {_jobs(waiting)} until it is resumed"
    if waiting and not workers:
        yield "no_worker", f"{_jobs(waiting)}: {_none(queue)}"
    elif waiting:
        yield from (("no_handler", _no_handler(queue, name)) for name in sorted(set(look.types) - _types(look)))
        if not books.paused and (books.oldest_age_ms or 0) > OLD_MS:
            yield (
                "old_job",
                f"queue {queue}: the oldest job has waited for {_span(books.oldest_age_ms)}, {busy} of {threads} threads "
                f"are busy: start more workers (python worker.py --queues {queue}), or see what keeps these",
            )
    for worker, info in look.workers.items():
        if not look.lives(worker):
            yield (
                "worker_lost",
                f"worker {worker} of the queue {queue} (pid {info.get('pid')} on {info.get('host')}) was last heard of {_span(books.now_ms - info['beat_ms'])} ago: "
                "what it ran is taken back when its leases end; see on its host why it has stopped",
            )
    failed = sum(counts.get("failed", 0) for counts in _last(look.minutes).values())
    if failed := min(failed, books.sizes["failed"]):
        letters = "1 new dead letter" if failed == 1 else f"{failed} new dead letters"
        yield "dead_letters", f"queue {queue}: {letters} in the last minutes: see why, put it right, retry"


def _crew(look: Look) -> tuple[int, int, int]:
    """How many workers live, how many threads they have and how many of these are busy."""
    living = look.living()
    return (
        len(living),
        sum(info.get("threads", 0) for info in living),
        sum(len(info.get("running", ())) for info in living),
    )


def _types(look: Look) -> set[str]:
    """The types that a living worker has a handler for."""
    return {name for info in look.living() for name in info.get("types", ())}


def _jobs(n: int) -> str:
    return f"{n} job waits" if n == 1 else f"{n} jobs wait"


def _none(queue: str) -> str:
    return f"no worker serves the queue {queue}: start one (python worker.py --queues {queue})"


def _no_handler(queue: str, job_type: str) -> str:
    return f"no worker of the queue {queue} has a handler for the type {job_type}: its attempts will fail"


# ---------------------------------------------------------------------------------------------------------- advice


class Outlook(NamedTuple):
    """Who would do the jobs of a queue."""

    seen_at: float
    reaper: bool
    workers: bool
    types: set[str]


class Advice:
    """What a newcomer would not find out by himself: that no process is there to do what he submits."""

    def __init__(self, jobs: JobQueue) -> None:
        self.jobs = jobs
        self._kept: dict[str, Outlook] = {}

    def on(self, jobs: Iterable[NewJob | Job]) -> list[str]:
        """A sentence for each queue and type, of the first few, whose jobs will not be done."""
        kinds = sorted({(job.queue, job.type) for job in jobs})[:MAX_ADVICE]
        try:
            return [text for queue, job_type in kinds if (text := self._on(queue, job_type))]
        except Unavailable:
            return []

    def _on(self, queue: str, job_type: str) -> str | None:
        look = self._look(queue)
        if not look.workers:
            return _none(queue)
        if job_type not in look.types:
            return _no_handler(queue, job_type)
        return None if look.reaper else NO_REAPER

    def _look(self, queue: str) -> Outlook:
        kept = self._kept.get(queue)
        if kept is None or time.monotonic() - kept.seen_at > ADVICE_KEPT_S:
            look = self.jobs.look(queue)
            workers, _, _ = _crew(look)
            kept = Outlook(time.monotonic(), look.books.reaper_lives, bool(workers), _types(look))
            if len(self._kept) > MAX_QUEUES:  # some must be of queues that are gone
                self._kept = {}
            self._kept[queue] = kept
        return kept


# ----------------------------------------------------------------------------------------------------------- rates

Counts = Mapping[str, int]


def _by_minute(looks: dict[str, Look]) -> dict[int, Counts]:
    """The counters of all queues together, and the age of the oldest job of all."""
    together: defaultdict[int, Counter[str]] = defaultdict(Counter)
    for look in looks.values():
        for minute, counts in look.minutes.items():
            oldest_ms = max(together[minute]["oldest_ms"], counts.get("oldest_ms", 0))
            together[minute].update(counts)
            together[minute]["oldest_ms"] = oldest_ms
    return dict(together)


def _last(minutes: Mapping[int, Counts]) -> dict[int, Counts]:
    """Those that rates are taken over."""
    return {minute: minutes[minute] for minute in sorted(minutes)[-WINDOW:]}


def _minute(minute: int, counts: Counts) -> dict[str, Any]:
    return {
        "at": rfc3339(minute * 60_000),
        **{name: counts.get(name, 0) for name in ("submitted", "done", "failed", "retried")},
        **_percentiles(counts),
        "oldest_ms": counts.get("oldest_ms") or None,
    }


def _percentiles(counts: Counts) -> dict[str, int | None]:
    return {
        f"{kind}_p{percent}_ms": percentile(counts, kind, percent / 100)
        for kind in ("wait", "run")
        for percent in (50, 95)
    }


def percentile(counts: Counts, kind: str, share: float) -> int | None:
    """What this share of the durations did not exceed, taking those of a bucket as evenly spread. Beyond the last bound, that
    bound. None when there were none."""
    rows = [(bound, counts.get(f"{kind}:{bound}", 0)) for bound in (*BUCKETS_MS, "inf")]
    wanted, low = share * sum(n for _, n in rows), 0
    for bound, n in rows:
        high = low if isinstance(bound, str) else bound
        if 0 < n >= wanted:
            return round(low + (high - low) * wanted / n)
        wanted, low = wanted - n, high
    return None


def _passed(minutes: Mapping[int, Counts], now_ms: int) -> float:
    """How many minutes rates are taken over: since the first of these in which anything happened, at least one."""
    active = [
        minute for minute, counts in minutes.items() if any(n for name, n in counts.items() if name != "oldest_ms")
    ]
    return max(1.0, now_ms / 60_000 - min(active, default=now_ms // 60_000))


def _rates(minutes: Mapping[int, Counts], now_ms: int) -> dict[str, Any]:
    counts, passed = Counter[str](), _passed(minutes, now_ms)
    for each in minutes.values():
        counts.update(each)
    errors = sum(n for name, n in counts.items() if name.startswith("errors:"))
    attempts = counts["done"] + errors
    return {
        "finished_per_minute": round((counts["done"] + counts["failed"]) / passed, 1),
        "failed_per_minute": round(counts["failed"] / passed, 1),
        "error_rate": round(errors / attempts, 4) if attempts else None,
        **_percentiles(counts),
    }


def _paces(look: Look, *names: str) -> list[float]:
    """How much each counter of the queue grows in a minute."""
    minutes = _last(look.minutes)
    passed = _passed(minutes, look.books.now_ms)
    return [sum(counts.get(name, 0) for counts in minutes.values()) / passed for name in names]


# ------------------------------------------------------------------------------------------------ queues and workers


def queue_row(queue: str, books: Books) -> dict[str, Any]:
    return {
        "queue": queue,
        "paused": books.paused,
        "jobs": books.sizes,
        "totals": {name: n for name, n in books.totals.items() if ":" not in name},
        "oldest_queued_at": rfc3339(books.waits_since_ms),
        "reaper": books.reaper_lives,
        "reaper_at": rfc3339(books.reaper_ms),
    }


def _queue_with_rates(queue: str, look: Look) -> dict[str, Any]:
    books, (workers, threads, busy) = look.books, _crew(look)
    (done, failed, submitted), waiting = _paces(look, "done", "failed", "submitted"), books.sizes["queued"]
    drain_s = round(60 * waiting / (done + failed), 1) if done + failed and not books.paused else None
    return queue_row(queue, books) | {
        "oldest_age_s": None if books.oldest_age_ms is None else books.oldest_age_ms / 1000,
        "done_per_minute": round(done, 1),
        "submitted_per_minute": round(submitted, 1),
        "drain_s": drain_s if waiting else 0,
        "workers": workers,
        "threads": threads,
        "busy": busy,
    }


def worker_rows(queue: str, look: Look) -> list[dict[str, Any]]:
    return [
        {"worker": name, "queue": queue, "last_beat_at": rfc3339(info["beat_ms"]), "lost": not look.lives(name), **info}
        for name, info in look.workers.items()
    ]


# ------------------------------------------------------------------------------------------------- what a job waits for


def explanation(job: Job, look: Look) -> tuple[str, str]:
    """A word, and one or two sentences."""
    return _EXPLAIN[job.status](job, look)


def _queued(job: Job, look: Look) -> tuple[str, str]:
    workers, threads, busy = _crew(look)
    ahead, free = (job.position or 1) - 1, max(0, threads - busy)
    if look.books.paused:
        return "paused", f"It waits because the queue {job.queue} is paused. Resume it to go on."
    if not workers:
        return "no_worker", f"It waits because {_none(job.queue)}."
    if job.type not in _types(look):
        return "no_handler", f"Its turn comes, but {_no_handler(job.queue, job.type)}."
    if ahead < free:
        return "ready", f"It will be claimed at once: {free} of {threads} threads are free."
    if not ahead:
        return "ready", f"It is next: all {threads} threads are busy, and the first that is free claims it."
    first = "1 job comes" if ahead == 1 else f"{ahead} jobs come"
    pace = sum(_paces(look, "done", "failed"))
    soon = f" At {pace:.3g} a minute that takes about {_span(60_000 * ahead / pace)}." if pace else ""
    return "waiting", f"{first} before it, and {busy} of {threads} threads are busy.{soon}"


def _scheduled(job: Job, look: Look) -> tuple[str, str]:
    in_ms = (job.run_at_ms or 0) - look.books.now_ms
    when = f"{rfc3339(job.run_at_ms)}, in {_span(in_ms)}" if in_ms > 0 else "this moment"
    if not look.books.reaper_lives:
        return "no_reaper", f"It is due at {when}, but {NO_REAPER}."
    if not job.attempts:
        return "delayed", f"It was submitted for later: it is due at {when}."
    failed = f"Attempt {job.attempts} of {job.max_attempts} failed{_with_error(job)}."
    return "backoff", f"{failed} Attempt {job.attempts + 1} is due at {when}."


def _processing(job: Job, look: Look) -> tuple[str, str]:
    since = _span(look.books.now_ms - (job.started_ms or look.books.now_ms))
    progress = job.progress or {}
    parts = [f"Attempt {job.attempts} of {job.max_attempts} has been running for {since} on {_by(job)}"]
    if progress.get("fraction") is not None:
        parts.append(f"{progress['fraction']:.0%} done" + (f" ({progress['note']})" if progress.get("note") else ""))
    if job.cancel_asked:
        parts.append("its handler was asked to stop")
    if job.worker and not look.lives(job.worker):
        parts.append("but that worker is not heard of any more: the job is taken back when its lease ends")
        if not look.books.reaper_lives:
            parts.append(NO_REAPER)
    return "running", ", ".join(parts) + "."


def _by(job: Job) -> str:
    return f"worker {job.worker[:WORKER_CHARS]}" if job.worker else "a worker"


def _done(job: Job, look: Look) -> tuple[str, str]:
    return (
        "done",
        f"It was done by {_by(job)} in {_ran(job)}, at attempt {job.attempts} of {job.max_attempts}.",
    )


def _failed(job: Job, look: Look) -> tuple[str, str]:
    spent = "its last" if job.attempts >= job.max_attempts else "and is not to be tried again"
    return (
        "failed",
        f"It failed for good: attempt {job.attempts} of {job.max_attempts}, {spent}, ended{_with_error(job)}.",
    )


def _cancelled(job: Job, look: Look) -> tuple[str, str]:
    ago = _span(look.books.now_ms - (job.finished_ms or look.books.now_ms))
    how = f"in its attempt {job.attempts}" if job.attempts else "before it ran"
    return "cancelled", f"It was cancelled {how}, {ago} ago."


_EXPLAIN = {
    "queued": _queued,
    "scheduled": _scheduled,
    "processing": _processing,
    "done": _done,
    "failed": _failed,
    "cancelled": _cancelled,
}


def _with_error(job: Job) -> str:
    if not job.errors:
        return ""
    message = " ".join(job.errors[-1]["message"].split())
    shown = message if len(message) <= SHOWN_CHARS else message[:SHOWN_CHARS] + "…"
    kind = f"{job.errors[-1]['kind']}: "
    return " with " + shown if shown.startswith(kind) else f" with {kind}{shown}"


def _ran(job: Job) -> str:
    return _span((job.finished_ms or 0) - (job.started_ms or 0))


def _span(ms: float | None) -> str:
    """A length of time for people."""
    s = max(0.0, (ms or 0) / 1000)
    if s < 10:
        return f"{s:.1f} s" if s >= 1 else f"{s * 1000:.0f} ms"
    for unit, length, upto in (("s", 1, 120), ("min", 60, 7200), ("h", 3600, 172_800)):
        if s < upto:
            return f"{s / length:.0f} {unit}"
    return f"{s / 86_400:.0f} days"
