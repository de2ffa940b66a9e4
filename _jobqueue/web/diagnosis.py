"""What the numbers mean for one job, in sentences: who is missing to do it, why it does not run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

from _jobqueue.books import Books, Look
from _jobqueue.listed import GONE, Parent
from _jobqueue.records import DEFAULT_QUEUE, DELIVERY, ENDED, MAX_QUEUES, NO_REAPER, REAPER_MISSED_S, Warned
from _jobqueue.rfc3339 import epoch_ms, rfc3339
from _jobqueue.sentences import no_handler, none_serves, span
from _jobqueue.web.rates import crew, pace_of_work, types_of
from jobqueue import Job, JobQueue, NewJob, Unavailable

# What a job may wait for, or what became of it.
EXPLANATIONS = (
    *("ready", "waiting", "paused", "no_worker", "no_handler", "delayed", "backoff", "snoozed", "no_reaper"),
    *("blocked", "parent_failed", "parent_cancelled", "limited"),
    *("running", "done", "failed", "cancelled", "remembered"),
)

ADVICE_KEPT_S = 2.0
MAX_ADVICE = 20  # sentences in the answer to one submit
SHOWN_CHARS = 200  # of an error's message
WORKER_CHARS = 8  # of its id: enough to find it


class Patience:
    """Says that a queue has no reaper, but not before a reaper had time to tick: the first submits of a system that is just
    starting, or of a new queue, come before its first tick."""

    def __init__(self, tick_s: float = REAPER_MISSED_S) -> None:
        self.tick_s = tick_s
        self._first_seen: dict[str, float] = {}

    def misses_reaper(self, queue: str, books: Books) -> bool:
        first_seen = self._first_seen.setdefault(queue, time.monotonic())
        return not books.reaper_lives and time.monotonic() - first_seen >= self.tick_s


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

    def on(self, jobs: Sequence[NewJob | Job]) -> list[Warned]:
        """One for each queue and type, of the first few, whose jobs will not be done."""
        kinds: set[tuple[str, str]] = set()
        for job in jobs:
            kinds.add((job.queue or DEFAULT_QUEUE, job.type))
            if job.webhook:
                kinds.add((job.queue or DEFAULT_QUEUE, DELIVERY))
        try:
            return [warned for queue, job_type in sorted(kinds)[:MAX_ADVICE] if (warned := self._on(queue, job_type))]
        except Unavailable:
            return []

    def _on(self, queue: str, job_type: str) -> Warned | None:
        outlook = self._outlook(queue)
        if not outlook.workers:
            return Warned("no_worker", none_serves(queue))
        if job_type not in outlook.types:
            return Warned("no_handler", no_handler(queue, job_type))
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
        return f" When it goes on, it must start within {span(job.expires_ms)}, or is cancelled."
    if not job.expires_at_ms or job.has_started or job.status not in ("queued", "scheduled"):
        return ""
    return f" If it has not started by {rfc3339(job.expires_at_ms)}, in {span(job.expires_at_ms - now_ms)}, it is cancelled."


def _queued(job: Job, look: Look, misses_reaper: bool) -> tuple[str, str]:
    workers, threads, busy = crew(look)
    ahead, free = (job.position or 1) - 1, max(0, threads - busy)
    if look.books.paused and job.type != DELIVERY:
        return "paused", f"It waits because the queue {job.queue} is paused. Resume it to go on."
    if job.type in look.books.paused_types:
        return "paused", f"It waits because the type {job.type} is paused in the queue {job.queue}. Resume it to go on."
    if not workers:
        return "no_worker", f"It waits because {none_serves(job.queue)}."
    if job.type not in types_of(look):
        return "no_handler", f"It waits because {no_handler(job.queue, job.type)}."
    if ahead < free:
        return "ready", f"It will be claimed at once: {free} of {threads} threads are free."
    if not ahead:
        return "ready", f"It is next: all {threads} threads are busy, and the first that is free claims it."
    first = "1 job comes" if ahead == 1 else f"{ahead} jobs come"
    pace = pace_of_work(look)
    soon = f" At {pace:.3g} a minute that takes about {span(60_000 * ahead / pace)}." if pace else ""
    return "waiting", f"{first} before it, and {busy} of {threads} threads are busy.{soon}"


def _scheduled(job: Job, look: Look, misses_reaper: bool) -> tuple[str, str]:
    in_ms = (job.run_at_ms or 0) - look.books.now_ms
    when = f"{rfc3339(job.run_at_ms)}, in {span(in_ms)}" if in_ms > 0 else "this moment"
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
    since = span(look.books.now_ms - (job.started_ms or look.books.now_ms))
    progress = job.progress or {}
    parts = [f"Attempt {job.attempts} of {job.max_attempts} has been running for {since} on {_by(job)}"]
    if progress.get("fraction") is not None:
        parts.append(f"{progress['fraction']:.0%} done" + (f" ({progress['note']})" if progress.get("note") else ""))
    if job.cancel_asked:
        parts.append(f"its handler was asked to stop {span(look.books.now_ms - (job.cancel_requested_ms or 0))} ago")
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
    ago = span(look.books.now_ms - (job.finished_ms or look.books.now_ms))
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
    return span((job.finished_ms or 0) - (job.started_ms or 0))
