"""The reaper: a process that takes back what nobody holds any more. Any number may run at once.

Once a second it fires schedules that are due. Then for every queue:

- cancel jobs that have not started in time, promote those that are due, reap expired leases;
- lower the leases of workers whose beat has stopped, trim jobs that are past their retention;
- look after kits, parked jobs and limits, tell children what they wait for, ring;
- every ten seconds, note how the queue goes.

It reads first, then applies compare-and-set scripts in one MULTI/EXEC, so a job that changed in between is left alone. One thread
ticks. SIGTERM, SIGINT or SIGHUP ends it after the queue that it is at, or after STOP_S when Redis does not answer: a tick may stop
anywhere.
"""

from __future__ import annotations

import argparse
import math
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable

from _jobqueue import liveness
from _jobqueue.books import Expired
from _jobqueue.config import Config
from _jobqueue.logs import Log, announce, start_logging
from _jobqueue.processes import MISTAKE, Signals
from _jobqueue.records import DAY_MS
from _jobqueue.store.clock import Clock
from _jobqueue.tokens import worker_of
from jobqueue import JobQueue, TooNew, TooOld, Unavailable

LIMIT = 125  # ids that one script looks at, within some milliseconds
ROUNDS = 160  # of LIMIT each, in one tick: a flood of due jobs does not keep the leases waiting
FORGET_S = 600  # how long a worker that is gone is still shown
SILENT_S = 1.0  # the shortest lease: nobody is dead sooner
JUMP_S = 2.0  # a difference between two clocks that is no delay
GRACE_S = 15.0  # after its start, workers have had time to say what they handle: all may have stood still for a week
NOTE_S = 10.0  # between two notes of how a queue goes
STOP_S = 3.0  # a tick that waits for Redis delays a stop no longer
END_S = 5.0  # nor does anything else, above STOP_S
LEASE_EXPIRED = "the lease ran out: the worker died, froze or was cut off from Redis"


class Reaper:
    """One tick of all queues at a time. Remembers, by its own monotonic clock, when it last saw each worker's beat change."""

    def __init__(self, jobs: JobQueue, lease_s: float, retention_ms: dict[str, int], log: Log) -> None:
        self.jobs, self.lease_s, self.retention_ms, self.log = jobs, lease_s, retention_ms, log
        self.unhandled_ms = 7 * DAY_MS
        self.started = time.monotonic()
        self.recovery, self.clock = jobs.recovery, Clock(jobs.schedules, log)
        self.beats: dict[tuple[str, str], tuple[bytes, float]] = {}
        self.leases: dict[tuple[str, str], float] = {}  # of workers that were once silent, as each says of itself
        self.noted: dict[str, float] = {}  # when it last noted how a queue goes
        self.redis_ahead_s: float | None = None
        self.quiet_until = 0.0
        self.queues: list[str] = []
        self.left = False  # children of the queue at hand are still to be told, or a limit counts
        self.stopping = threading.Event()
        self.turned: Callable[[], None] = lambda: None  # called all the time

    def run(self, interval_s: float) -> None:
        """Tick until ``stopping``, whatever goes wrong."""
        outage_since = 0.0
        while not self.stopping.is_set():
            began = time.monotonic()
            self.turned()
            try:
                self.tick()
                if outage_since:
                    self.log("Redis is back", after_s=round(time.monotonic() - outage_since, 1))
                    outage_since = 0.0
            except Unavailable as error:
                if not outage_since:
                    outage_since = began
                    self.log.warning(f"nothing can be recovered until Redis is back: {error}")
            except Exception:
                self.log.failure("a tick went wrong; the next one goes on")
            self.stopping.wait(max(0.05, interval_s - (time.monotonic() - began)))

    def tick(self) -> None:
        """Raises Unavailable when a queue was out of reach; the others, on a Cluster perhaps elsewhere, have had their turn."""
        away: Unavailable | None = None
        try:
            self.queues = self.jobs.queues()
            self.beats = {seen: beat for seen, beat in self.beats.items() if seen[0] in self.queues}
            self.noted = {queue: at for queue, at in self.noted.items() if queue in self.queues}
        except Unavailable as error:
            away = error
        away = self.clock.tick(self.queues, self.stopping) or away  # first: who comes at a time of day shall be on time
        for queue in self.queues:
            if self.stopping.is_set():
                return
            try:
                self._tick_queue(queue)
            except Unavailable as error:
                away = error
        if away:
            raise away

    def _tick_queue(self, queue: str) -> None:
        for _ in range(ROUNDS):
            self.turned()
            asked = time.monotonic()
            now_ms, expired, beats = self.recovery.expired(queue, LIMIT)
            self._compare_clocks(now_ms / 1000 - time.monotonic(), now_ms / 1000 - asked)
            if self._lower_dead(queue, beats):
                continue  # look again: what was lowered has expired
            if time.monotonic() < self.quiet_until:
                expired = []
            outcomes, *moved = self._recover(queue, expired)
            self._say(queue, expired, outcomes)
            self._note(queue)
            if max(len(expired), *moved) < LIMIT and not self.left:
                return

    def _note(self, queue: str) -> None:
        """What charts show of the queue, and by what it is told when it will be drained."""
        if time.monotonic() - self.noted.get(queue, -math.inf) >= NOTE_S:
            self.noted[queue] = time.monotonic()
            self.jobs.sums.note(queue)

    def _recover(self, queue: str, expired: list[Expired]) -> tuple[list[str], int, int, int, int]:
        """One pipelined MULTI/EXEC. Returns the fate of each expired lease, and numbers: jobs promoted, jobs trimmed, marks for the
        record given up, jobs looked at that had not started in time."""
        transaction = self.recovery.transaction(queue)
        transaction.expire(LIMIT)
        transaction.promote(LIMIT, round(self.lease_s * 1000))
        for status, kept_ms in self.retention_ms.items():
            transaction.trim(status, kept_ms, LIMIT)
        transaction.reap(expired, LEASE_EXPIRED)
        quiet = time.monotonic() < max(self.quiet_until, self.started + GRACE_S)
        transaction.let_in(LIMIT)
        transaction.tidy(LIMIT, self.unhandled_ms, spare=quiet)
        transaction.tell(LIMIT)
        answer = transaction.execute()
        self.left = transaction.left
        if transaction.vague_tag:
            self.jobs.tags.go_on(queue, transaction.vague_tag)
        for job_id in transaction.unhandled:
            self.log.warning("a dead letter: nobody handles its type", job=job_id, queue=queue)
        if transaction.expired:
            first, n = transaction.expired[0], len(transaction.expired)
            self.log("cancelled jobs that had not started in time", n=n, job=first, queue=queue)
        return *answer, transaction.given_up, transaction.looked

    def _compare_clocks(self, least: float, most: float) -> None:
        """Redis's clock is ahead of ours by ``least`` to ``most`` seconds: it was read between our question and its answer.
        After a jump all leases look expired: let the beats renew the healthy ones first."""
        ahead = self.redis_ahead_s
        self.redis_ahead_s = least if ahead is None else min(max(ahead, least), most)
        if ahead is not None and abs(self.redis_ahead_s - ahead) > JUMP_S:
            lease_s = max([self.lease_s, *(self._lease_of(queue, worker) for queue, worker in self.beats)])
            self.quiet_until = time.monotonic() + lease_s
            by_s = round(self.redis_ahead_s - ahead, 1)
            self.log.warning("Redis's clock jumped: not reaping for one lease", by_s=by_s, lease_s=lease_s)

    def _lower_dead(self, queue: str, beats: dict[str, bytes]) -> int:
        """A worker whose beat has stood still for one of its leases is dead, whatever the clocks say."""
        lowered = 0
        for worker in {w for q, w in self.beats if q == queue} - beats.keys():
            del self.beats[queue, worker]
            self.leases.pop((queue, worker), None)
        for worker, beat in beats.items():
            last, seen = self.beats.get((queue, worker), (b"", -math.inf))
            if beat != last:
                self.beats[queue, worker] = beat, time.monotonic()
                continue
            silent_s = time.monotonic() - seen
            if silent_s > FORGET_S:
                self.recovery.leave(queue, worker, self.recovery.slots(queue, worker), beat)
            elif self._is_dead(queue, worker, silent_s) and (n := self.recovery.lower(queue, worker, beat)):
                self.log.warning("a worker's beat has stopped", queue=queue, worker=worker, jobs=n)
                lowered += n
        return lowered

    def _is_dead(self, queue: str, worker: str, silent_s: float) -> bool:
        return silent_s > SILENT_S and silent_s > self._lease_of(queue, worker)

    def _lease_of(self, queue: str, worker: str) -> float:
        if (queue, worker) not in self.leases:
            lease_s, may_change = self.recovery.lease_s(queue, worker)
            if may_change:
                return lease_s or self.lease_s
            self.leases[queue, worker] = lease_s or self.lease_s
        return self.leases[queue, worker]

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


def _flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--check", action="store_true", help="liveness probe: exit 0 when the reaper here really ticks")


def main() -> int:
    description = "Takes back expired jobs, promotes delayed ones, trims old ones."
    config, options = Config.parse("reaper", description, ("reaper_interval_s", "processing_timeout_s"), _flags)
    if options.check:
        return liveness.check("reaper")
    log, signals = start_logging(config, "reaper"), Signals()
    life = liveness.Life("reaper", log)
    signals.end_within(END_S, log)
    announce(config, log)
    jobs = JobQueue(config.redis_url, defaults=config.policy)
    try:
        jobs.wait_until_ready(life.while_waiting(signals), log.warning)
    except (TooNew, TooOld) as error:
        print(f"reaper.py: {error}", file=sys.stderr)
        return MISTAKE
    retention_ms = {
        "done": config.result_ttl_s * 1000,
        "cancelled": config.result_ttl_s * 1000,
        "failed": config.failed_ttl_s * 1000,
    }
    reaper = Reaper(jobs, config.processing_timeout_s, retention_ms, log)
    reaper.unhandled_ms = config.unhandled_ttl_s * 1000
    reaper.turned = life.note
    ticking = threading.Thread(target=reaper.run, args=(config.reaper_interval_s,), daemon=True)
    ticking.start()
    if not signals.is_set():
        signals.wait()
    reaper.stopping.set()
    ticking.join(STOP_S)
    life.forget()
    log("stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
