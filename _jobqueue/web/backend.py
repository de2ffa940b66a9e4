"""What is behind the calls: the queues, the settings, and what is kept between two requests."""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable, Collection
from typing import Any

from _jobqueue.config import Config
from _jobqueue.store.remotes import Waiting
from _jobqueue.store.tags import Seen
from _jobqueue.tally import Wait
from _jobqueue.web.compression import File
from _jobqueue.web.diagnosis import Advice, Patience
from _jobqueue.web.overview import Overview
from _jobqueue.web.record_threads import RecordThreads
from _jobqueue.web.security import Gate
from _jobqueue.web.waiting import Waiters
from jobqueue import JobQueue

SAY_S = 4.0  # claims that wait: how often their workers are said to live


class Backend:
    """``jobs`` answers requests; ``probe``, which asks only once, answers /health. Thread-safe."""

    queues: tuple[str, ...] | None = None  # those that there are for this caller; None: all

    def __init__(self, config: Config, jobs: JobQueue, probe: JobQueue) -> None:
        self.config, self.gate = config, Gate(config, jobs)
        self._see(jobs, probe)
        self._bound: dict[tuple[str, ...], Backend] = {}  # by queues, of which the keys name few
        # Where no record is kept, what the queue has forgotten is nowhere.
        self.record = RecordThreads(config.history_url, config.api_threads) if config.history_url else None
        self.checking = threading.Lock()
        # For the end of a job, by its id, or of a tag's jobs; for work.
        self.waiters = Waiters[str | Wait | Waiting](self._happened, config.api_waiters)
        self._seen, self._counted, self._said = dict[str, str](), Seen(), 0.0
        # How a job is told that a call of another system has made; the rooms of those calls add theirs
        self.words: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {}
        self.description: File  # of the API: set when all routes are known

    def bound_to(self, queues: tuple[str, ...]) -> Backend:
        """The same for a caller for whom there are these queues alone."""
        view = self._bound.get(queues)
        if view is None:
            view = copy.copy(self)
            view.queues = queues
            view._see(self.jobs.bound_to(queues), self.probe.bound_to(queues))
            self._bound[queues] = view
        return view

    def shows(self, queue: str) -> bool:
        """Whether there is that queue for the caller."""
        return self.queues is None or queue in self.queues

    def _see(self, jobs: JobQueue, probe: JobQueue) -> None:
        patience = Patience()
        self.jobs, self.probe = jobs, probe
        self.advice, self.overview = Advice(jobs, patience), Overview(jobs, patience)

    def _happened(self, awaited: Collection[str | Wait | Waiting], anew: bool) -> list[str | Wait | Waiting]:
        """For the one thread that looks for all who wait."""
        if anew:
            self._seen.clear()
            self._counted = Seen()
        job_ids = [each for each in awaited if isinstance(each, str)]
        tags = [each for each in awaited if isinstance(each, Wait)]
        claims = [each for each in awaited if isinstance(each, Waiting)]
        over: list[str | Wait | Waiting] = [*self.jobs.ended(job_ids, self._seen)] if job_ids else []
        over += self.jobs.tags.ended(tags, self._counted) if tags else []
        if claims:
            say = time.monotonic() - self._said > SAY_S
            over += self.jobs.remotes.rung(claims, say_that_they_live=say)
            self._said = time.monotonic() if say else self._said
        return over
