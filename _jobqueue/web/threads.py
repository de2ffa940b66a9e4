"""The threads that serve, as many as may compute at the same time."""

from __future__ import annotations

import threading
from queue import SimpleQueue
from typing import Any

from _jobqueue.logs import Log


class Threads:
    """Waitress's task dispatcher, over a queue that is made in C: to wake a thread through a Condition, as waitress's own does,
    costs a fifth of a request's processor time."""

    def __init__(self, count: int, log: Log) -> None:
        self._log = log
        self._tasks: SimpleQueue[Any] = SimpleQueue()
        self.add_task = self._tasks.put
        for n in range(count):
            threading.Thread(target=self._work, name=f"serve-{n}", daemon=True).start()

    def _work(self) -> None:
        while True:
            task = self._tasks.get()
            try:
                task.service()
            except BaseException:
                self._log.failure("a request went wrong below its application")
                task.cancel()
                task.server.pull_trigger()

    def shutdown(self) -> None:
        """They end with the process."""
