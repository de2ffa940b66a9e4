"""What the threads of a worker share."""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass, field

from _jobqueue.work.attempts import Attempts
from _jobqueue.work.deliveries import Turns
from _jobqueue.work.reports import Reports
from _jobqueue.work.slot import Slot

BEATS_PER_LEASE = 10  # a stall of Redis may last nine tenths of a lease before a healthy job is taken back
BEAT_MOST_S = (
    2.0  # with a long lease too: beats carry cancels and progress, and a worker without them is taken for dead
)
ALIVE_BEATS = 2  # an idle slot gets no job when its worker's last beat is older: the worker may be frozen


@dataclass(eq=False)
class Shift:
    """From a worker's start to its end: who it is, how it runs jobs, when it stops, to whom it reports."""

    worker: str  # its id
    attempts: Attempts
    reports: Reports
    lease_ms: int
    burst: bool = False  # end when the queues are empty
    turns: Turns | None = None  # of threads that tell webhooks; None: nobody here does
    slots: list[Slot] = field(
        default_factory=list
    )  # main and the watch append, the beat removes; to go through them, take a copy
    stopping: threading.Event = field(default_factory=threading.Event)  # claim nothing more
    hurry: threading.Event = field(default_factory=threading.Event)  # wait for nothing more
    closed: threading.Event = field(default_factory=threading.Event)  # watch and beat end
    _stopping_since: float = math.inf

    def stop(self) -> None:
        self._stopping_since = time.monotonic()
        self.stopping.set()

    def stopping_for_s(self) -> float:
        return time.monotonic() - self._stopping_since

    @property
    def beat_s(self) -> float:
        return min(self.lease_ms / 1000 / BEATS_PER_LEASE, BEAT_MOST_S)

    @property
    def alive_ms(self) -> int:
        return round(1000 * ALIVE_BEATS * self.beat_s)
