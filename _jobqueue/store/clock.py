"""A reaper's clock: fires the schedules that are due, by Redis's time. Any number of clocks fire each due time once."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from _jobqueue.errors import Unavailable
from _jobqueue.logs import Log
from _jobqueue.store.schedules import Schedules

MOST = 2000  # jobs of a queue in one tick: a flood of them does not keep the leases waiting
COUNTED = ("fired", "skipped", "missed", "refused")


class Clock:
    """One tick of all queues at a time. A queue without schedules costs a part of one command."""

    def __init__(self, schedules: Schedules, log: Log) -> None:
        self._schedules, self._log = schedules, log
        self._told: set[tuple[str, str]] = set()  # schedules that cannot be read here

    def tick(self, queues: Sequence[str], stopping: threading.Event) -> Unavailable | None:
        """Returns the error of a queue that was out of reach; the others have had their turn."""
        away: Unavailable | None = None
        try:
            with_any = list(self._schedules.first_due(queues))
        except Unavailable as error:
            if not self._schedules.are_spread:
                return error
            with_any, away = list(queues), error
        for queue in with_any:
            if stopping.is_set():
                break
            try:
                self._fire(queue)
            except Unavailable as error:
                away = error
        return away

    def _fire(self, queue: str) -> None:
        told = self._schedules.fire(queue, MOST, lambda name, error: self._cannot(queue, name, error))
        if counts := {name: told[name] for name in COUNTED if told[name]}:
            self._log("schedules were due", queue=queue, **counts)

    def _cannot(self, queue: str, name: str, error: Exception) -> None:
        if (queue, name) not in self._told:
            self._told.add((queue, name))
            self._log.warning("a schedule is due and cannot be read here", queue=queue, schedule=name, why=str(error))
