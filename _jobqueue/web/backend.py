"""What is behind the calls: the queues, the settings, and what is kept between two requests."""

from __future__ import annotations

import threading
from collections.abc import Callable

from _jobqueue.config import Config
from _jobqueue.web.diagnosis import Advice, Patience
from _jobqueue.web.overview import Overview
from _jobqueue.web.security import Gate
from jobqueue import JobQueue


class Backend:
    """``jobs`` answers requests; ``probe``, which asks only once, answers /health. Thread-safe."""

    def __init__(self, config: Config, jobs: JobQueue, probe: JobQueue, stopping: Callable[[], bool]) -> None:
        patience = Patience()
        self.config, self.jobs, self.probe, self.stopping = config, jobs, probe, stopping
        self.gate, self.advice, self.overview = Gate(config, jobs), Advice(jobs, patience), Overview(jobs, patience)
        self.checking = threading.Lock()
        self.waiters = threading.BoundedSemaphore(max(1, config.api_threads // 2))
        self.description = b""  # of the API, as JSON
