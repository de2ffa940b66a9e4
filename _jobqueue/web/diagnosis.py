"""What the numbers mean, in sentences: what is wrong and what to do about it, who is missing, why a job does not run."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from _jobqueue.records import (
    DEFAULT_QUEUE,
    DELIVERY,
    ENDED,
    GONE,
    MAX_QUEUES,
    NO_REAPER,
    REAPER_MISSED_S,
    Books,
    Look,
    Parent,
    Warned,
)
from _jobqueue.rfc3339 import epoch_ms, rfc3339
from _jobqueue.web import backlog, fullness
from _jobqueue.web.rates import crew, last, pace_of_work, types_of
from jobqueue import Job, JobQueue, NewJob, Unavailable

# What a job may wait for, or what became of it.
EXPLANATIONS = (
    *("ready", "waiting", "paused", "no_worker", "no_handler", "delayed", "backoff", "snoozed", "no_reaper"),
    *("blocked", "parent_failed", "parent_cancelled", "limited"),
    *("running", "done", "failed", "cancelled", "remembered"),
)

OLD_MS = 60_000
MAX_FINDINGS = 20
ADVICE_KEPT_S = 2.0
MAX_ADVICE = 20  # sentences in the answer to one submit
SHOWN_CHARS = 200  # of an error's message
WORKER_CHARS = 8  # of its id: enough to find it

# What may be wrong, the worst first.
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


class Finding(NamedTuple):
    """Something that is wrong. ``about`` says which type or worker of the queue, where there may be several."""

    code: str
    text: str
    queue: str | None = None
    about: str = ""

    @property
    def id(self) -> str:
        """The same as long as it is the same thing that is wrong, whatever has become of the numbers in its text."""
        return ":".join(part for part in (self.code, self.queue, self.about) if part)


class Patience:
    """Says that a queue has no reaper, but not before a reaper had time to tick: the first submits of a system that is just
    starting, or of a new queue, come before its first tick."""

    def __init__(self, tick_s: float = REAPER_MISSED_S) -> None:
        self.tick_s = tick_s
        self._first_seen: dict[str, float] = {}

    def misses_reaper(self, queue: str, books: Books) -> bool:
        first_seen = self._first_seen.setdefault(queue, time.monotonic())
        return not books.reaper_lives and time.monotonic() - first_seen >= self.tick_s


# ---------------------------------------------------------------------------------------------------------- health


def health(
    looks: dict[str, Look],
    server_warnings: Iterable[Warned],
    patience: Patience,
    lease_s: float,
    due: Mapping[str, tuple[str, int]],
) -> list[dict[str, Any]]:
    """What is wrong, the worst first, each with what to do; [] when all is well. ``lease_s``: this program's setting. ``due``: of
    queues that have schedules, which is due first, and when."""
    found = _of_no_queue([*server_warnings, *backlog.warnings(looks, _span)])
    missed = [queue for queue, look in looks.items() if patience.misses_reaper(queue, look.books)]
    if any(look.books.reaper_lives for look in looks.values()):  # it will find the queues that are new to it
        left = [queue for queue in missed if looks[queue].books.reaper_ms is not None]
        found += [Finding("no_reaper", f"queue {queue}: {NO_REAPER}", queue) for queue in left]
    elif missed:
        found.append(Finding("no_reaper", NO_REAPER))
    for queue, look in looks.items():
        found += (*_problems(queue, look), *_settings(queue, look, lease_s), *_clock(queue, look, due.get(queue)))
    worst = list(LEVELS)
    found.sort(key=lambda each: worst.index(each.code))
    return [
        {
            "id": each.id,
            "code": each.code,
            "level": LEVELS[each.code],
            "text": _sentence(each.text),
            "queue": each.queue,
        }
        for each in found[:MAX_FINDINGS]
    ]


def _of_no_queue(warnings: Iterable[Warned]) -> list[Finding]:
    """Several may have one code: they are told apart by their order."""
    seen = Counter[str]()
    found = []
    for code, text in warnings:
        found.append(Finding(code, text, about=str(seen[code]) if seen[code] else ""))
        seen[code] += 1
    return found


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + ("" if text.endswith(".") else ".")


def _problems(queue: str, look: Look) -> Iterator[Finding]:
    """What is wrong with one queue."""
    books, (workers, threads, busy) = look.books, crew(look)
    waiting = books.sizes["queued"]
    if books.missing:
        yield Finding(
            "books",
            f"queue {queue}: the books do not balance, {books.missing:+d} submitted jobs are nowhere: find out which "
            f"(python jobqueue.py check --queue {queue})",
            queue,
        )
    if books.paused:
        yield Finding("paused", f"queue {queue} is paused: {_jobs(waiting)} until it is resumed", queue)
    for name in books.paused_types:
        yield Finding(
            "paused", f"queue {queue}: the type {name} is paused: its jobs wait until it is resumed", queue, name
        )
    if waiting and not workers:
        yield Finding("no_worker", f"{_jobs(waiting)}: {_none(queue)}", queue)
    elif waiting:
        for name in sorted(set(look.types) - types_of(look)):
            yield Finding("no_handler", _no_handler(queue, name), queue, name)
        if not books.paused and (books.oldest_age_ms or 0) > OLD_MS:
            yield Finding(
                "old_job",
                f"queue {queue}: the oldest job has waited for {_span(books.oldest_age_ms)}, {busy} of {threads} threads "
                f"are busy: start more workers (python worker.py --queues {queue}), or see what keeps these",
                queue,
            )
    if full := fullness.warning(queue, look):
        yield Finding("queue_full", full, queue)
    if books.stuck:
        more = f" and {len(books.stuck) - 1} more" if len(books.stuck) > 1 else ""
        yield Finding(
            "blocked",
            f"queue {queue}: jobs wait for the dead letter {books.stuck[0]}{more}: retry it, and they go on; or cancel them",
            queue,
        )
    if n := books.untold.failed:
        told = "1 webhook was" if n == 1 else f"{n} webhooks were"
        yield Finding(
            "webhooks",
            f"queue {queue}: {told} given up: see why in the dead letters of the type {DELIVERY}, put it right, retry",
            queue,
        )
    if books.untold.queued and DELIVERY not in types_of(look) and DELIVERY not in look.types:
        yield Finding("no_handler", _no_handler(queue, DELIVERY), queue, DELIVERY)
    for worker, info in look.workers.items():
        if not look.lives(worker):
            process = "over HTTP from" if info.get("http") else f"pid {info.get('pid')} on"
            yield Finding(
                "worker_lost",
                f"worker {worker} of the queue {queue} ({process} {info.get('host')}) was last heard of {_span(books.now_ms - info['beat_ms'])} ago: "
                "what it ran is taken back when its leases end; see on its host why it has stopped",
                queue,
                worker,
            )
    failed = sum(counts.get("failed", 0) for counts in last(look.minutes).values())
    if failed := min(failed, books.sizes["failed"]):
        letters = "1 new dead letter" if failed == 1 else f"{failed} new dead letters"
        yield Finding(
            "dead_letters", f"queue {queue}: {letters} in the last minutes: see why, put it right, retry", queue
        )


def _settings(queue: str, look: Look, lease_s: float) -> Iterator[Finding]:
    """Each worker goes by its own lease, but a job without a timeout of its own gets its worker's."""
    named: dict[float, str] = {lease_s: "this API"}
    if look.books.reaper_lives and look.books.reaper_lease_ms:
        named.setdefault(look.books.reaper_lease_ms / 1000, "the reaper")
    for worker, info in look.workers.items():
        if look.lives(worker) and isinstance(info.get("lease_s"), (int, float)) and not info.get("http"):
            named.setdefault(info["lease_s"], f"worker {worker}")
    if len(named) > 1:
        said = ", ".join(f"{lease:g} for {who}" for lease, who in named.items())
        yield Finding(
            "leases_differ", f"queue {queue}: PROCESSING_TIMEOUT_S is {said}: set it alike for all processes", queue
        )


def _clock(queue: str, look: Look, first: tuple[str, int] | None) -> Iterator[Finding]:
    """What the schedules of a queue did not do."""
    if first and look.books.now_ms - first[1] > OLD_MS:
        ago = _span(look.books.now_ms - first[1])
        why = "no reaper fires it: start one (python reaper.py), or see in its log what keeps it"
        yield Finding("schedule_late", f"queue {queue}: the schedule {first[0]} was due {ago} ago, and {why}", queue)
    if missed := sum(counts.get("schedules_missed", 0) for counts in last(look.minutes).values()):
        times = "1 due time of a schedule" if missed == 1 else f"{missed} due times of schedules"
        why = "no reaper was there in time, or the queue took no job"
        yield Finding(
            "schedules_missed", f"queue {queue}: {times} passed without a job in the last minutes: {why}", queue
        )


def _jobs(n: int) -> str:
    return f"{n} job waits" if n == 1 else f"{n} jobs wait"


def _none(queue: str) -> str:
    return f"no worker serves the queue {queue}: start one (python worker.py --queues {queue})"


def _no_handler(queue: str, job_type: str) -> str:
    if job_type == DELIVERY:
        return f"no worker of the queue {queue} delivers webhooks: start one with WEBHOOK_SECRETS"
    return f"no worker of the queue {queue} has a handler for the type {job_type}: its jobs wait until one is started"


# ---------------------------------------------------------------------------------------------------------- advice


class Outlook(NamedTuple):
    """Who would do the jobs of a queue."""

    seen_at: float
    misses_reaper: bool
    workers: bool
    types: set[str]


class Advice:
    """Warnings for the answer to a submit: no worker, handler or reaper is there for the job. Thread-safe."""

    def __init__(self, jobs: JobQueue, patience: Patience) -> None:
        self.jobs, self.patience = jobs, patience
        self._kept: dict[str, Outlook] = {}

    def on(self, jobs: Iterable[NewJob | Job]) -> list[Warned]:
        """One for each queue and type, of the first few, whose jobs will not be done."""
        jobs = list(jobs)
        kinds = {(job.queue or DEFAULT_QUEUE, job.type) for job in jobs}
        kinds |= {(job.queue or DEFAULT_QUEUE, DELIVERY) for job in jobs if job.webhook}
        try:
            return [warned for queue, job_type in sorted(kinds)[:MAX_ADVICE] if (warned := self._on(queue, job_type))]
        except Unavailable:
            return []

    def _on(self, queue: str, job_type: str) -> Warned | None:
        outlook = self._outlook(queue)
        if not outlook.workers:
            return Warned("no_worker", _none(queue))
        if job_type not in outlook.types:
            return Warned("no_handler", _no_handler(queue, job_type))
        return Warned("no_reaper", NO_REAPER) if outlook.misses_reaper else None

    def _outlook(self, queue: str) -> Outlook:
        kept = self._kept.get(queue)
        if kept is None or time.monotonic() - kept.seen_at > ADVICE_KEPT_S:
            look = self.jobs.look(queue)
            workers, _, _ = crew(look)
            misses = self.patience.misses_reaper(queue, look.books)
            kept = Outlook(time.monotonic(), misses, bool(workers), types_of(look))
            if len(self._kept) > MAX_QUEUES:  # some must be of queues that are gone
                self._kept = {}
            self._kept[queue] = kept
        return kept


# ------------------------------------------------------------------------------------------------- what a job waits for


def explanation(job: Job, look: Look, misses_reaper: bool) -> tuple[str, str]:
    """A word of EXPLANATIONS, and one or two sentences."""
    return _EXPLAIN[job.status](job, look, misses_reaper)


def until_when(job: Job, now_ms: int) -> str:
    """A further sentence on a job that must start within some time."""
    if job.status == "blocked" and job.expires_ms:
        return f" When it goes on, it must start within {_span(job.expires_ms)}, or is cancelled."
    if not job.expires_at_ms or job.has_started or job.status not in ("queued", "scheduled"):
        return ""
    return f" If it has not started by {rfc3339(job.expires_at_ms)}, in {_span(job.expires_at_ms - now_ms)}, it is cancelled."


def _queued(job: Job, look: Look, misses_reaper: bool) -> tuple[str, str]:
    workers, threads, busy = crew(look)
    ahead, free = (job.position or 1) - 1, max(0, threads - busy)
    if look.books.paused and job.type != DELIVERY:
        return "paused", f"It waits because the queue {job.queue} is paused. Resume it to go on."
    if job.type in look.books.paused_types:
        return "paused", f"It waits because the type {job.type} is paused in the queue {job.queue}. Resume it to go on."
    if not workers:
        return "no_worker", f"It waits because {_none(job.queue)}."
    if job.type not in types_of(look):
        return "no_handler", f"It waits because {_no_handler(job.queue, job.type)}."
    if ahead < free:
        return "ready", f"It will be claimed at once: {free} of {threads} threads are free."
    if not ahead:
        return "ready", f"It is next: all {threads} threads are busy, and the first that is free claims it."
    first = "1 job comes" if ahead == 1 else f"{ahead} jobs come"
    pace = pace_of_work(look)
    soon = f" At {pace:.3g} a minute that takes about {_span(60_000 * ahead / pace)}." if pace else ""
    return "waiting", f"{first} before it, and {busy} of {threads} threads are busy.{soon}"


def _scheduled(job: Job, look: Look, misses_reaper: bool) -> tuple[str, str]:
    in_ms = (job.run_at_ms or 0) - look.books.now_ms
    when = f"{rfc3339(job.run_at_ms)}, in {_span(in_ms)}" if in_ms > 0 else "this moment"
    if misses_reaper:
        return "no_reaper", f"It is due at {when}, but {NO_REAPER}."
    if job.snoozed_ms and job.snoozed_ms >= (job.started_ms or 0) and _last_error_ms(job) <= job.snoozed_ms:
        times = "" if job.snoozes == 1 else f" ({job.snoozes:,} times so far)"
        return "snoozed", f"Its handler has put it off{times}: it is due again at {when}."
    if not job.attempts:
        return "delayed", f"It was submitted for later: it is due at {when}."
    failed = f"Attempt {job.attempts} of {job.max_attempts} failed{_with_error(job)}."
    return "backoff", f"{failed} Attempt {job.attempts + 1} is due at {when}."


def what_blocks(job: Job, parents: Sequence[Parent], misses_reaper: bool) -> tuple[str, str]:
    """The same of a blocked job. ``parents``: all that it waits for, or has waited for."""
    satisfied = ("done", GONE) if job.when == "done" else ("done", "failed", "cancelled", GONE)
    open_ = [parent for parent in parents if parent.status not in satisfied]
    for status, code, advice in (
        ("failed", "parent_failed", "which is a dead letter. Retry that one, and this one goes on"),
        ("cancelled", "parent_cancelled", "which was cancelled. Retry that one too"),
    ):
        for parent in open_:
            if parent.status == status:
                return code, f"It waits for {_name_of(parent)}, {advice}."
    if not open_:
        return (
            "blocked",
            f"All that it has waited for has ended: it goes on at once{f', but {NO_REAPER}' if misses_reaper else ''}.",
        )
    others = f"{len(open_)} of {len(parents)} jobs, among them " if len(parents) > 1 else ""
    return "blocked", f"It waits for {others}{_name_of(open_[0])}, which is {open_[0].status}."


def _name_of(parent: Parent) -> str:
    return f"the job {parent.job_id}" + (f" ({parent.name})" if parent.name else "")


def _processing(job: Job, look: Look, misses_reaper: bool) -> tuple[str, str]:
    since = _span(look.books.now_ms - (job.started_ms or look.books.now_ms))
    progress = job.progress or {}
    parts = [f"Attempt {job.attempts} of {job.max_attempts} has been running for {since} on {_by(job)}"]
    if progress.get("fraction") is not None:
        parts.append(f"{progress['fraction']:.0%} done" + (f" ({progress['note']})" if progress.get("note") else ""))
    if job.cancel_asked:
        parts.append(f"its handler was asked to stop {_span(look.books.now_ms - (job.cancel_requested_ms or 0))} ago")
    if job.worker and not look.lives(job.worker):
        parts.append("but that worker is not heard of any more: the job is taken back when its lease ends")
        if misses_reaper:
            parts.append(NO_REAPER)
    return "running", ", ".join(parts) + "."


def explanation_of_remembered(job: Job) -> tuple[str, str]:
    """The same of a job that only the record knows."""
    if job.status not in ENDED:
        lost = "Redis has lost it, or has got back older data"
        return "remembered", f"The record says that it is {job.status}, but the queue does not know it: {lost}."
    how = {"done": "It was done", "failed": f"It failed for good{_with_error(job)}", "cancelled": "It was cancelled"}
    when = f", {rfc3339(job.finished_ms)}" if job.finished_ms else ""
    return "remembered", f"{how[job.status]}{when}. The queue has forgotten it; this is from the record."


def _by(job: Job) -> str:
    return f"worker {job.worker[:WORKER_CHARS]}" if job.worker else "a worker"


def _done(job: Job, look: Look, misses_reaper: bool) -> tuple[str, str]:
    return (
        "done",
        f"It was done by {_by(job)} in {_ran(job)}, at attempt {job.attempts} of {job.max_attempts}.",
    )


def _failed(job: Job, look: Look, misses_reaper: bool) -> tuple[str, str]:
    spent = "its last" if job.attempts >= job.max_attempts else "and is not to be tried again"
    return (
        "failed",
        f"It failed for good: attempt {job.attempts} of {job.max_attempts}, {spent}, ended{_with_error(job)}.",
    )


def _cancelled(job: Job, look: Look, misses_reaper: bool) -> tuple[str, str]:
    ago = _span(look.books.now_ms - (job.finished_ms or look.books.now_ms))
    how = f"in its attempt {job.attempts}" if job.attempts else "before it ran"
    why = job.errors[-1]["message"] if job.errors and job.errors[-1]["kind"] in ("parent_gone", "expired") else ""
    return "cancelled", f"It was cancelled {how}, {ago} ago{f': {why}' if why else ''}."


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


def _last_error_ms(job: Job) -> int:
    return (epoch_ms(job.errors[-1]["at"]) or 0) if job.errors else 0


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
