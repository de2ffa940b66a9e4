"""The counts of all queues, as JSON and in the text format of Prometheus. Counters live in Redis: every API process agrees."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from _jobqueue.books import Books, Look, Untold
from _jobqueue.by_type import ByType
from _jobqueue.limits import Limited
from _jobqueue.records import ENDED, FAILURES
from _jobqueue.web import backlog, fullness, limited
from _jobqueue.web.by_type import families
from _jobqueue.web.samples import Family, Sample, histogram

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SCHEDULES = {
    "fired": "Due times of schedules that made a job.",
    "late": "Those of them that came over 10 s late.",
    "skipped": "Due times at which the last job had not ended.",
    "missed": "Due times that passed without a job: no reaper was there, or the queue took none.",
}


def as_json(queues: dict[str, Books]) -> dict[str, Any]:
    """Over all queues: what ever happened (total, completed, failed ...), and how many there are now (the rest). In the first names
    jobs that tell webhooks do not count."""

    def now(status: str) -> int:
        return sum(max(0, books.sizes[status] - getattr(books.untold, status)) for books in queues.values())

    def ever(name: str) -> int:
        ours = "webhooks" if name == "submitted" else f"webhooks_{name}"
        return sum(books.totals.get(name, 0) - books.totals.get(ours, 0) for books in queues.values())

    return {
        "total_jobs": ever("submitted"),
        "active_jobs": now("processing"),
        "completed_jobs": ever("done"),
        "failed_jobs": ever("failed"),
        "dead_letter_jobs": now("failed"),
        "queue_length": now("queued"),
        "retry_queue_length": now("scheduled"),
        "dlq_length": now("failed"),
        "cancelled_jobs": ever("cancelled"),
        "retried_attempts": ever("retried"),
        "reaped_attempts": ever("reaped"),
        "late_results_refused": ever("refused"),
        "queues": {queue: {"jobs": books.sizes, "totals": books.totals} for queue, books in queues.items()},
    }


def as_prometheus(
    looks: dict[str, Look],
    types: dict[str, ByType],
    server: dict[str, Any],
    limits: Mapping[str, Sequence[Limited]] | None = None,
) -> str:
    """``server``: what JobQueue.server() says. ``limits``: some of each queue."""
    lines: list[str] = []
    for name, kind, text, samples in (
        *_families(looks, server),
        *families(looks, types),
        *limited.families(limits or {}),
    ):
        full = f"jobqueue_{name}"
        lines += [f"# HELP {full} {text}", f"# TYPE {full} {kind}"]
        for labels, value in samples:
            suffix = labels.pop("suffix", "")
            shown = ",".join(f'{label}="{text}"' for label, text in labels.items())
            lines.append(f"{full}{suffix}{{{shown}}} {value:.15g}" if shown else f"{full}{suffix} {value:.15g}")
    return "\n".join(lines) + "\n"


def _families(looks: dict[str, Look], server: dict[str, Any]) -> Iterator[Family]:
    queues = {queue: look.books for queue, look in looks.items()}

    def total(name: str) -> list[Sample]:
        return [({"queue": queue}, books.totals.get(name, 0)) for queue, books in queues.items()]

    def gauge(read: Any) -> list[Sample]:
        return [({"queue": queue}, read(books)) for queue, books in queues.items()]

    yield "jobs_submitted_total", "counter", "Jobs accepted.", total("submitted")
    finished = [({"queue": q, "outcome": o}, b.totals.get(o, 0)) for q, b in queues.items() for o in ENDED]
    yield "jobs_finished_total", "counter", "Jobs that ended, by outcome.", [*finished]
    failures = [
        ({"queue": q, "reason": r}, b.totals.get(f"errors:{r}", 0)) for q, b in queues.items() for r in FAILURES
    ]
    yield "attempts_failed_total", "counter", "Attempts without success, by reason.", [*failures]
    yield "attempts_retried_total", "counter", "Attempts that another one follows.", total("retried")
    yield "attempts_reaped_total", "counter", "Attempts taken back because their lease ran out.", total("reaped")
    yield "attempts_released_total", "counter", "Claims given back before the handler started.", total("released")
    yield "attempts_snoozed_total", "counter", "Runs that their handler has put off.", total("snoozed")
    yield "jobs_expired_total", "counter", "Jobs cancelled because they had not started in time.", total("expired")
    yield "late_results_refused_total", "counter", "Results of workers that had lost their lease.", total("refused")
    sizes = [({"queue": q, "status": s}, n) for q, b in queues.items() for s, n in b.sizes.items()]
    yield "jobs", "gauge", "Jobs there are, by status.", [*sizes]
    yield "oldest_queued_seconds", "gauge", "Age of the job that has waited longest.", gauge(_age_s)
    yield "queue_paused", "gauge", "1 while the queue is paused.", gauge(lambda books: int(books.paused))
    yield "reaper_up", "gauge", "1 while a reaper looks after the queue.", gauge(lambda books: int(books.reaper_lives))
    yield "wait_seconds", "histogram", "From when a job could run to its first start.", _histogram(queues, "wait")
    yield "run_seconds", "histogram", "How long attempts ran.", _histogram(queues, "run")
    for what, text in SCHEDULES.items():
        yield f"schedules_{what}_total", "counter", text, total(f"schedules_{what}")
    untold = [({"queue": q, "status": s}, getattr(b.untold, s)) for q, b in queues.items() for s in Untold._fields]
    yield "webhooks", "gauge", "Jobs that tell a webhook and are not over, by status.", [*untold]
    yield from _workers(looks)
    yield from backlog.families(looks)
    yield from fullness.families(looks)
    yield "redis_memory_bytes", "gauge", "Memory that Redis uses.", [({}, server["used_memory_bytes"] or 0)]
    yield (
        "redis_maxmemory_bytes",
        "gauge",
        "Memory that Redis may use; 0 is no limit.",
        [({}, server["maxmemory_bytes"] or 0)],
    )


def _age_s(books: Books) -> float:
    return (books.oldest_age_ms or 0) / 1000


def _workers(looks: dict[str, Look]) -> Iterator[Family]:
    workers = {queue: look.living() for queue, look in looks.items()}
    yield "workers", "gauge", "Living workers.", [({"queue": q}, len(w)) for q, w in workers.items()]
    threads = [({"queue": q}, sum(each["threads"] for each in w)) for q, w in workers.items()]
    yield "worker_threads", "gauge", "Jobs that can run at once.", [*threads]
    busy = [({"queue": q}, sum(len(each["running"]) for each in w)) for q, w in workers.items()]
    yield "worker_threads_busy", "gauge", "Jobs that run.", [*busy]


def _histogram(queues: dict[str, Books], kind: str) -> list[Sample]:
    return [s for queue, books in queues.items() for s in histogram({"queue": queue}, books.totals, kind)]
