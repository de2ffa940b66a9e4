"""What is behind the calls: the queues, the settings, and what is kept between two requests."""

from __future__ import annotations

import threading
from collections.abc import Collection

from _jobqueue.config import Config
from _jobqueue.store.tags import Seen
from _jobqueue.tally import Wait
from _jobqueue.web.compression import File
from _jobqueue.web.diagnosis import Advice, Patience
from _jobqueue.web.overview import Overview
from _jobqueue.web.record_threads import RecordThreads
from _jobqueue.web.security import Gate
from _jobqueue.web.waiting import Waiters
from jobqueue import JobQueue


class Backend:
    """``jobs`` answers requests; ``probe``, which asks only once, answers /health. Thread-safe."""

    def __init__(self, config: Config, jobs: JobQueue, probe: JobQueue) -> None:
        patience = Patience()
        self.config, self.jobs, self.probe = config, jobs, probe
        self.gate, self.advice, self.overview = Gate(config, jobs), Advice(jobs, patience), Overview(jobs, patience)
        # Where no record is kept, what the queue has forgotten is nowhere.
        self.record = RecordThreads(config.history_url, config.api_threads) if config.history_url else None
        self.checking = threading.Lock()
        self.waiters = Waiters(self._ended, config.api_waiters)  # for the end of a job, by its id, or of a tag's jobs
        self._seen, self._counted = dict[str, str](), Seen()
        self.description: File  # of the API: set when all routes are known

    def _ended(self, awaited: Collection[str | Wait], anew: bool) -> list[str | Wait]:
        """For the one thread that looks for all who wait."""
        if anew:
            self._seen.clear()
            self._counted = Seen()
        job_ids = [each for each in awaited if isinstance(each, str)]
        tags = [each for each in awaited if isinstance(each, Wait)]
        over: list[str | Wait] = [*self.jobs.ended(job_ids, self._seen)] if job_ids else []
        return over + (self.jobs.tags.ended(tags, self._counted) if tags else [])
