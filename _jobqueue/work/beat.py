"""The thread that says that the worker lives, renews its leases, and settles for slots that are busy."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from _jobqueue.by_type import of_each
from _jobqueue.errors import Unavailable
from _jobqueue.records import NO_REAPER, REAPER_MISSED_S, Held, __version__
from _jobqueue.store.leases import Presence
from _jobqueue.work.run import Run
from _jobqueue.work.shift import Shift
from _jobqueue.work.slot import Slot
from jobqueue import JobQueue


class Beat:
    def __init__(self, shift: Shift, jobs: JobQueue, threads: dict[str, int], pid: int) -> None:
        """``threads`` of each queue, as its worker says of itself."""
        self.shift, self.jobs, self.threads, self.pid = shift, jobs, threads, pid
        self._wake = threading.Event()
        self._reaper_seen, self._reaper_missed = time.monotonic(), False
        self._began, self._ended = time.monotonic(), {queue: Counter[str]() for queue in threads}
        self.connect()

    def connect(self) -> None:
        """On a new connection: another thread may still wait for an answer on the old one."""
        self._link = self.jobs.link()

    def run(self) -> None:
        next_beat, failures = 0.0, Counter[str]()
        while not self.shift.closed.is_set():
            due = time.monotonic() >= next_beat
            if due:
                next_beat = time.monotonic() + self.shift.beat_s
                self._publish_routes()
            for queue in self.threads:
                try:
                    self.hand_back(queue)
                    if due:
                        self.beat(queue)
                        self._drop_slots(queue)
                    failures[queue] = 0
                except Unavailable as error:
                    failures[queue] += 1
                    self.shift.reports.outages[queue].begin(error, failures[queue])
                    if failures[queue] == 1:
                        next_beat = 0.0  # at once, on a new connection
                except Exception:
                    self.shift.reports.log.failure("the beat went wrong and goes on")
                    self._link.close()  # it may hold an answer to something else
            self._wake.wait(max(0.0, next_beat - time.monotonic()))
            self._wake.clear()

    def wake(self) -> None:
        self._wake.set()

    def hand_back(self, queue: str) -> None:
        """Settle for slots that are busy. Repeated until it has arrived."""
        for slot in self._slots(queue):
            if ended := slot.handed():
                accepted = self._presence(queue).settle(ended)
                slot.settled(ended)
                self.shift.reports.refused(ended, accepted)

    def take_over(self, slot: Slot) -> None:
        """Settle for a slot whose thread is not waited for any more, and give back what it may still be given."""
        ended = slot.handed()
        accepted = slot.talk.take_over(self._link, ended, slot.seen)
        slot.settled(ended)
        self.shift.reports.refused(ended, accepted)

    def leave(self, queue: str, slots: Sequence[str]) -> None:
        self._presence(queue).leave(slots)

    def beat(self, queue: str) -> None:
        runs, held = self._held(queue)
        now, counts = time.monotonic(), self._counted(queue)
        info = {
            "host": socket.gethostname(),
            "pid": self.pid,
            "version": __version__,
            "marks": True,  # it marks what it changes, for the record; a release before does not
            "webhooks": True,  # it writes what is to be told of an end; the same
            "threads": self.threads[queue],
            "lease_s": self.shift.lease_ms / 1000,  # a reaper goes by it
            "types": sorted(self.shift.attempts.types),
            "running": [
                {"job_id": run.job.id, "type": run.job.type, "for_s": round(now - run.started, 1)} for run in runs
            ],
            **self._totals(queue, counts),
            **_load(),
        }
        attempts = self.shift.attempts
        if attempts.plain_kit != attempts.kit:  # threads claim under either
            self._presence(queue).beat(info, attempts.plain_policies)
        reaper_lives, answers, now_ms = self._presence(queue).beat(info, attempts.policies, held, counts)
        attempts.clock.learn(now_ms)
        self.shift.reports.outages[queue].end()
        for run, answer in zip(runs, answers, strict=False):
            if answer != "ok" and not run.stopped_for:
                run.stop("lost" if answer == "lost" else "cancelled")
            if answer == "stop":
                run.stop_now()
        self._tell_of_reaper(reaper_lives)

    def _publish_routes(self) -> None:
        """Again and again: a Redis that has lost its data learns them too."""
        if self.shift.attempts.routes:
            with suppress(Unavailable):
                self.jobs.publish_routes(self.shift.attempts.routes)

    def _drop_slots(self, queue: str) -> None:
        """Forget slots whose handlers hung and have ended since: their places were taken by others."""
        for slot in self._slots(queue):
            if slot.is_over() and self._presence(queue).drop(slot.id):
                self.shift.slots.remove(slot)

    def _slots(self, queue: str) -> list[Slot]:
        return [slot for slot in list(self.shift.slots) if slot.queue == queue]

    def _presence(self, queue: str) -> Presence:
        return self.jobs.presence(queue, self.shift.worker, self.shift.lease_ms, self._link)

    def _held(self, queue: str) -> tuple[list[Run], list[Held]]:
        """What runs, and its leases followed by those of all else that the slots hold."""
        runs: list[Run] = []
        waiting: list[Held] = []
        for slot in self._slots(queue):
            run, more = slot.held(self.shift.attempts.timeout_s, self.shift.lease_ms)
            runs += [run] if run else []
            waiting += more
        now = time.monotonic()
        held = [Held(run.job.id, run.job.token, round((run.deadline - now) * 1000), run.changes()) for run in runs]
        return runs, held + waiting

    def _counted(self, queue: str) -> dict[str, Counter[str]]:
        """What the queue's slots have counted since the last beat. A beat that fails loses it: nothing hangs on it."""
        return of_each(slot.take_counts() for slot in self._slots(queue))

    def _totals(self, queue: str, counts: dict[str, Counter[str]]) -> dict[str, Any]:
        """What its attempts have come to since it started, and how long ago that was."""
        ended = self._ended[queue]
        for each in counts.values():
            ended["done"] += each["done"]
            ended["failed"] += each["failed"]
        return {"done": ended["done"], "failed": ended["failed"], "up_s": round(time.monotonic() - self._began)}

    def _tell_of_reaper(self, lives: bool) -> None:
        now = time.monotonic()
        if lives:
            self._reaper_seen = now
        missed = now - self._reaper_seen > REAPER_MISSED_S
        if missed and not self._reaper_missed:
            self.shift.reports.log.warning(NO_REAPER)
        if self._reaper_missed and not missed:
            self.shift.reports.log("a reaper is running")
        self._reaper_missed = missed


def _load() -> dict[str, Any]:
    """How busy its machine is, where the system says so: the processes that want a core, in the last minute, and the cores."""
    return {"load": round(os.getloadavg()[0], 2), "cpus": os.cpu_count()} if hasattr(os, "getloadavg") else {}
