"""What one thread of a worker holds. Other threads look into it: the watch, the beat, and main when the worker leaves."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future

from _jobqueue.histograms import add_time
from _jobqueue.records import DELIVERY, IN_PLACE, Claimed, Held, Settlement
from _jobqueue.store.leases import Conversation
from _jobqueue.work.run import Run

INTERRUPTED = "the worker was told to stop before the handler had finished"


class Slot:
    """The jobs of one thread from claim to settlement. Its id is never used again.

    All that begins with an underscore is read and written under the lock, by the methods here. What does not belongs to one
    thread: `talk` to the slot's own until main takes it over, `turned` and `idle` are written by the slot's own alone."""

    def __init__(self, queue: str, talk: Conversation, ended: Iterable[Settlement] = ()) -> None:
        """``ended``: left over by the slot whose place it takes."""
        self.queue, self.talk, self.id = queue, talk, talk.slot
        self.turned = time.monotonic()  # when it last began to talk to Redis
        self.idle = False  # it has looked for jobs in vain
        self.future: Future[None] = Future()  # of its thread; set before others see the slot
        self._lock = threading.Lock()
        self._pending: deque[Claimed] = deque()  # claimed, not started
        self._running: Run | None = None
        self._ended: list[Settlement] = list(ended)  # what the slot itself is to settle next
        self._handed: list[Settlement] = []  # what the beat is to settle, or the slot itself if it comes first
        self._abandoned = False  # another slot or main has taken over; its thread only ends
        self._seen = 0  # the last claim whose jobs it has taken
        # By type: attempts done and failed, waiting and running times, until the next beat takes them.
        self._counts: dict[str, Counter[str]] = {}

    # -- the slot's own thread

    def goes_on(self, stopping: bool) -> bool:
        """Whether its thread has something to do; while stopping, only what has ended."""
        with self._lock:
            return not self._abandoned and (not stopping or bool(self._ended))

    def unsettled(self) -> list[Settlement]:
        """All that has ended. A claim that overtook what the beat is to settle would give it up as dropped; sent twice, it
        does no harm. It stays here until it has arrived, for main to hand in at the end of an outage."""
        with self._lock:
            return self._handed + self._ended

    def settled(self, ends: list[Settlement]) -> None:
        arrived = set(map(id, ends))
        with self._lock:
            self._handed = [end for end in self._handed if id(end) not in arrived]
            self._ended = [end for end in self._ended if id(end) not in arrived]

    def forget_ended(self) -> None:
        """What could not be sent. The next claim gives these attempts up as dropped."""
        with self._lock:
            self._ended, self._handed = [], []

    def take(self, jobs: list[Claimed]) -> bool:
        """The answer to a claim. False when it brought nothing, or main has taken over: then it gives them back."""
        with self._lock:
            if self._abandoned:
                return False
            self._seen = self.talk.seen
            self._pending.extend(jobs)
            return bool(jobs)

    def delivers(self) -> bool:
        """What it has taken tells a webhook."""
        with self._lock:
            return bool(self._pending) and self._pending[0].type == DELIVERY

    def start(self, timeout_s: Callable[[Claimed], float], stopping: bool) -> Run | None:
        """The next attempt; None when there is none, or the rest is to be given back."""
        with self._lock:
            if stopping:
                self._ended += self._release()
            if self._abandoned or not self._pending:
                return None
            job = self._pending.popleft()
            run = self._running = Run(job, timeout_s(job))
            return run

    def finish(self, run: Run, end: Settlement | None) -> bool:
        """The attempt has ended. False when it is too late, because the slot was abandoned."""
        with self._lock:
            self._running = None
            if self._abandoned:
                return False
            if end:
                self._ended.append(end)
            self._count(run, end.outcome if end else "lost")
            return True

    # -- the watch

    def running(self) -> Run | None:
        """None also when its handler hangs and another slot has taken its place."""
        with self._lock:
            return None if self._abandoned else self._running

    def hand_over(self, run: Run) -> bool:
        """While ``run`` runs, the beat settles what has ended before it and gives back what waits behind it. Returns whether
        there is any."""
        with self._lock:
            if self._running is not run or not (self._ended or self._pending):
                return False
            self._handed += self._ended + self._release()
            self._ended = []
            return True

    def abandon(self, run: Run | None) -> list[Settlement] | None:
        """Another slot takes its place, unless it does not run ``run`` any more: None. Returns what that one is to settle."""
        with self._lock:
            if self._abandoned or self._running is not run:
                return None
            self._abandoned = True
            if run:
                self._count(run, "failed")
            ends, self._ended = self._ended + self._release(), []
            return ends

    # -- main, when the worker leaves

    def take_back(self) -> tuple[Run, Settlement] | None:
        """The slot does not end in time: its job goes back as an interrupted attempt, the rest unharmed. Returns that attempt
        and its end."""
        with self._lock:
            self._abandoned = True
            self._handed += self._ended + self._release()
            self._ended = []
            if not self._running:
                return None
            job = self._running.job
            self._count(self._running, "failed")
            end = Settlement(job.id, job.token, "failed", IN_PLACE, "interrupted", INTERRUPTED)
            self._handed.append(end)
            return self._running, end

    @property
    def seen(self) -> int:
        """Jobs of a later claim never got here."""
        with self._lock:
            return self._seen

    # -- the beat, and whoever wants to know

    def handed(self) -> list[Settlement]:
        with self._lock:
            return list(self._handed)

    def held(self, timeout_s: Callable[[Claimed], float], lease_ms: int) -> tuple[Run | None, list[Held]]:
        """What runs, and the leases of what waits behind it and of what has ended but is not settled."""
        with self._lock:
            if self._abandoned:
                return None, []
            waiting = [Held(job.id, job.token, round(timeout_s(job) * 1000)) for job in self._pending]
            return self._running, waiting + [Held(end.id, end.token, lease_ms) for end in self._ended]

    def take_counts(self) -> dict[str, Counter[str]]:
        with self._lock:
            counts, self._counts = self._counts, {}
            return counts

    @property
    def abandoned(self) -> bool:
        with self._lock:
            return self._abandoned

    def is_over(self) -> bool:
        """Abandoned, its thread has ended, and nothing is left to settle."""
        with self._lock:
            return self._abandoned and self.future.done() and not self._handed

    def _count(self, run: Run, outcome: str) -> None:
        job_type, waited_ms = run.job.type, run.job.waited_ms
        counts = self._counts.get(job_type)
        if counts is None:
            counts = self._counts[job_type] = Counter()
        if waited_ms is not None:
            add_time(counts, "wait", waited_ms)
        add_time(counts, "run", (time.monotonic() - run.started) * 1000)
        if outcome in ("done", "failed"):
            counts[outcome] += 1

    def _release(self) -> list[Settlement]:
        """What has not started goes back unharmed."""
        released = [Settlement(job.id, job.token, "released") for job in self._pending]
        self._pending.clear()
        return released
