"""What a worker says in its log: how attempts ended, and when Redis is away."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable

from _jobqueue.errors import Unavailable
from _jobqueue.logs import Log, trace_of
from _jobqueue.records import Settlement
from _jobqueue.work.run import Run


class Reports:
    def __init__(self, log: Log, queues: Iterable[str], successes: bool = True) -> None:
        """``successes``: a line also for each attempt that went well."""
        self.log, self._successes = log, successes
        self.outages = {queue: Outage(log) for queue in queues}  # on a Cluster, each may have another Redis

    def attempt(self, run: Run, end: Settlement | None) -> None:
        job = run.job
        ms = round((time.monotonic() - run.started) * 1000, 1)
        about = {"job": job.id, "type": job.type, "attempt": job.attempt, "ms": ms, **trace_of(job)}
        if end is None:
            self.log("stopped: the job had been taken back", **about)
        elif end.outcome == "failed":
            self.log("failed", **about, kind=end.kind, error=end.message[:500])
        elif end.outcome == "snoozed":
            self.log("snoozed", **about, for_s=end.delay_ms / 1000)
        elif end.outcome != "done" or self._successes:
            self.log(end.outcome, **about)

    def refused(self, ended: list[Settlement], accepted: list[bool]) -> None:
        for settlement, ok in zip(ended, accepted, strict=True):
            if not ok and settlement.outcome != "released":
                self.log.warning(
                    "a late result was refused: the job had been taken back",
                    job=settlement.id,
                    token=settlement.token,
                    outcome=settlement.outcome,
                )


class Outage:
    """Logs an outage of a queue's Redis twice: when it begins, and when it ends, with its length.

    The first failure of a thread is none yet: its connection may have broken while nobody used it."""

    def __init__(self, log: Log) -> None:
        self._log, self._since, self._lock = log, 0.0, threading.Lock()

    def begin(self, error: Unavailable, failures: int) -> None:
        with self._lock:
            if failures > 1 and not self._since:
                self._since = time.monotonic()
                self._log.warning(f"no work until Redis is back: {error}")

    def end(self) -> None:
        if self._since:
            with self._lock:
                if self._since:
                    self._log("Redis is back", after_s=round(time.monotonic() - self._since, 1))
                    self._since = 0.0
