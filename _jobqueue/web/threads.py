"""The threads that serve, as many as may compute at the same time."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

from _jobqueue.logs import Log


class Threads:
    """Waitress's task dispatcher, with a lock for each idle thread. A Condition, as waitress's own has, costs a fifth of a
    request's processor time. A queue with several readers wakes two of them for each task. Who was idle last is woken first:
    its caches are warm."""

    def __init__(self, count: int, log: Log) -> None:
        self._log = log
        self._tasks: deque[Any] = deque()
        self._idle: list[threading.Lock] = []  # released: there may be something to do
        for n in range(count):
            threading.Thread(target=self._work, name=f"serve-{n}", daemon=True).start()

    def add_task(self, task: Any) -> None:
        self._tasks.append(task)
        try:
            self._idle.pop().release()
        except IndexError:  # all are busy: the first to be ready takes it
            return

    def _next(self, mine: threading.Lock) -> Any:
        while True:
            try:
                return self._tasks.popleft()
            except IndexError:
                self._idle.append(mine)
            if not self._tasks or not self._withdrew(mine):
                mine.acquire()

    def _withdrew(self, mine: threading.Lock) -> bool:
        """Whether it was idle still. A task came when nobody was idle to be woken for it."""
        try:
            self._idle.remove(mine)
        except ValueError:
            return False
        return True

    def _work(self) -> None:
        mine = threading.Lock()
        mine.acquire()
        while True:
            task = self._next(mine)
            try:
                task.service()
            except BaseException:
                self._log.failure("a request went wrong below its application")
                task.cancel()
                task.server.wake()

    def shutdown(self) -> None:
        """They end with the process."""
