"""The reaper: a process that takes back what nobody holds any more. Any number may run at once.

Once a second, for every queue: promote jobs that are due, reap expired leases, lower the leases of workers whose beat has
stopped, trim what is past its retention, ring. It reads first, then applies compare-and-set scripts in one
MULTI/EXEC, so whatever changed in between is left alone. One thread; SIGTERM or SIGINT ends it after the tick.
"""

from __future__ import annotations

import math
import sys
import time
from collections import Counter

from _jobqueue.config import Config
from _jobqueue.logs import Log, announce, start_logging
from _jobqueue.processes import Signals
from _jobqueue.records import Expired
from _jobqueue.tokens import worker_of
from jobqueue import JobQueue, Unavailable

LIMIT = 125  # ids that one script looks at, within some milliseconds
ROUNDS = 160  # of LIMIT each, in one tick: a flood of due jobs does not keep the leases waiting
FORGET_S = 600  # how long a worker that is gone is still shown
JUMP_S = 2.0  # a difference between two clocks that is no delay
LEASE_EXPIRED = "the lease ran out: the worker died, froze or was cut off from Redis"


class Reaper:
    """One tick of all queues at a time. Remembers, by its own monotonic clock, when it last saw each worker's beat change."""

    def __init__(self, jobs: JobQueue, lease_s: float, retention_ms: dict[str, int], log: Log) -> None:
        self.jobs, self.lease_s, self.retention_ms, self.log = jobs, lease_s, retention_ms, log
        self.recovery = jobs.recovery
        self.beats: dict[tuple[str, str], tuple[bytes, float]] = {}
        self.redis_ahead_s: float | None = None
        self.quiet_until = 0.0
        self.queues: list[str] = []

    def tick(self) -> None:
        """Raises Unavailable when a queue was out of reach; the others, on a Cluster perhaps elsewhere, have had their turn."""
        away: Unavailable | None = None
        try:
            self.queues = self.jobs.queues()
            self.beats = {seen: beat for seen, beat in self.beats.items() if seen[0] in self.queues}
        except Unavailable as error:
            away = error
        for queue in self.queues:
            try:
                self._tick_queue(queue)
            except Unavailable as error:
                away = error
        if away:
            raise away

    def _tick_queue(self, queue: str) -> None:
        for _ in range(ROUNDS):
            asked = time.monotonic()
            now_ms, expired, beats = self.recovery.expired(queue, LIMIT)
            self._compare_clocks(now_ms / 1000 - time.monotonic(), now_ms / 1000 - asked)
            if self._lower_dead(queue, beats):
                continue  # look again: what was lowered has expired
            if time.monotonic() < self.quiet_until:
                expired = []
            outcomes, promoted, trimmed = self._recover(queue, expired)
            self._say(queue, expired, outcomes)
            if max(len(expired), promoted, trimmed) < LIMIT:
                return

    def _recover(self, queue: str, expired: list[Expired]) -> tuple[list[str], int, int]:
        """One pipelined MULTI/EXEC. Returns what became of each expired job, and how many were promoted and trimmed."""
        transaction = self.recovery.transaction(queue)
        transaction.promote(LIMIT)
        for status, kept_ms in self.retention_ms.items():
            transaction.trim(status, kept_ms, LIMIT)
        transaction.reap(expired, LEASE_EXPIRED)
        return transaction.execute()

    def _compare_clocks(self, least: float, most: float) -> None:
        """Redis's clock is ahead of ours by ``least`` to ``most`` seconds: it was read between our question and its answer.
        After a jump all leases look expired: let the beats renew the healthy ones first."""
        ahead = self.redis_ahead_s
        self.redis_ahead_s = least if ahead is None else min(max(ahead, least), most)
        if ahead is not None and abs(self.redis_ahead_s - ahead) > JUMP_S:
            self.quiet_until = time.monotonic() + self.lease_s
            by_s = round(self.redis_ahead_s - ahead, 1)
            self.log.warning("Redis's clock jumped: not reaping for one lease", by_s=by_s, lease_s=self.lease_s)

    def _lower_dead(self, queue: str, beats: dict[str, bytes]) -> int:
        """A worker whose beat has stood still for a lease is dead, whatever the clocks say."""
        lowered = 0
        for worker in {w for q, w in self.beats if q == queue} - beats.keys():
            del self.beats[queue, worker]
        for worker, beat in beats.items():
            last, seen = self.beats.get((queue, worker), (b"", -math.inf))
            if beat != last:
                self.beats[queue, worker] = beat, time.monotonic()
                continue
            silent_s = time.monotonic() - seen
            if silent_s > FORGET_S:
                self.recovery.leave(queue, worker, self.recovery.slots(queue, worker), beat)
            elif silent_s > self.lease_s and (n := self.recovery.lower(queue, worker, beat)):
                self.log.warning("a worker's beat has stopped", queue=queue, worker=worker, jobs=n)
                lowered += n
        return lowered

    def _say(self, queue: str, expired: list[Expired], outcomes: list[str]) -> None:
        for job, outcome in zip(expired, outcomes, strict=True):
            if outcome in ("queued", "failed", "cancelled"):
                worker = worker_of(job.token)
                self.log.warning(
                    "took back a job", job=job.id, now=outcome, worker=worker, queue=queue, why=LEASE_EXPIRED
                )
        ignored = Counter(outcome for outcome in outcomes if outcome == "stale")
        if ignored:
            self.log.warning("dropped ids from the leases that are not in processing", n=ignored["stale"], queue=queue)


def main() -> int:
    config, _ = Config.parse(
        "reaper",
        "Takes back expired jobs, promotes delayed ones, trims old ones.",
        ("reaper_interval_s", "processing_timeout_s"),
    )
    log, signals = start_logging(config, "reaper"), Signals()
    announce(config, log)
    jobs = JobQueue(config.redis_url, defaults=config.policy)
    jobs.wait_until_ready(signals, log.warning)
    retention_ms = {
        "done": config.result_ttl_s * 1000,
        "cancelled": config.result_ttl_s * 1000,
        "failed": config.failed_ttl_s * 1000,
    }
    reaper = Reaper(jobs, config.processing_timeout_s, retention_ms, log)
    outage_since = 0.0
    while not signals.is_set():
        began = time.monotonic()
        try:
            reaper.tick()
            if outage_since:
                log("Redis is back", after_s=round(time.monotonic() - outage_since, 1))
                outage_since = 0.0
        except Unavailable as error:
            if not outage_since:
                outage_since = began
                log.warning(f"nothing can be recovered until Redis is back: {error}")
        except Exception:
            log.failure("a tick went wrong; the next one goes on")
        signals.wait(max(0.05, config.reaper_interval_s - (time.monotonic() - began)))
    log("stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
