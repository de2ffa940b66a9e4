"""Sentences, and parts of them, that several rooms say."""

from __future__ import annotations

from _jobqueue.records import DELIVERY


def jobs_wait(n: int) -> str:
    return f"{n:,} job waits" if n == 1 else f"{n:,} jobs wait"


def none_serves(queue: str) -> str:
    return f"no worker serves the queue {queue}: start one (python worker.py --queues {queue})"


def no_handler(queue: str, job_type: str) -> str:
    if job_type == DELIVERY:
        return f"no worker of the queue {queue} delivers webhooks: start one with WEBHOOK_SECRETS"
    return f"no worker of the queue {queue} has a handler for the type {job_type}: its jobs wait until one is started"


def span(ms: float | None) -> str:
    """A length of time for people."""
    s = max(0.0, (ms or 0) / 1000)
    if s < 10:
        return f"{s:.1f} s" if s >= 1 else f"{s * 1000:.0f} ms"
    for unit, length, upto in (("s", 1, 120), ("min", 60, 7200), ("h", 3600, 172_800)):
        if s < upto:
            return f"{s / length:.0f} {unit}"
    return f"{s / 86_400:.0f} days"
