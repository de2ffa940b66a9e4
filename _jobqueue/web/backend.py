"""What is behind the calls: the queues, the settings, and what is kept between two requests."""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Collection

from _jobqueue.config import Config
from _jobqueue.store.remotes import Waiting
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
        self.waiters, self._seen = Waiters[str | Waiting](self._happened, config.api_waiters), dict[str, str]()
        self._said = 0.0
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

    def _happened(self, awaited: Collection[str | Waiting], anew: bool) -> list[str | Waiting]:
        """For the one thread that looks for all who wait: jobs that have ended, and claims for which there is work."""
        if anew:
            self._seen.clear()
        job_ids = [each for each in awaited if isinstance(each, str)]
        claims = [each for each in awaited if isinstance(each, Waiting)]
        happened: list[str | Waiting] = list(self.jobs.ended(job_ids, self._seen)) if job_ids else []
        if claims:
            say = time.monotonic() - self._said > SAY_S
            happened += self.jobs.remotes.rung(claims, say_that_they_live=say)
            self._said = time.monotonic() if say else self._said
        return happened
