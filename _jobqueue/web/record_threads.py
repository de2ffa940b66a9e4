"""The record as the API asks it, by a few threads of its own. So a database that is slow, frozen or away holds up a bounded number
of requests, each for a bounded time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

from _jobqueue.record.database import Record, open_record
from _jobqueue.record.errors import RecordUnavailable

READ_WITHIN_S, WRITE_WITHIN_S = 4.0, 15.0
READERS_SHARE, MOST_READERS = 8, 4  # one reader for so many threads that serve
BUSY = "the record is busy: other requests wait for it"
LATE = "the record's database does not answer in time"

T = TypeVar("T")


class RecordThreads:
    """``ask`` for reads, ``change`` for what writes. Thread-safe."""

    def __init__(self, url: str, serving: int) -> None:
        """``serving``: how many threads answer requests."""
        readers = max(1, min(MOST_READERS, serving // READERS_SHARE))
        self._reading = _Crew(lambda: open_record(url, read_only=True), readers, READ_WITHIN_S)
        self._writing = _Crew(lambda: open_record(url), 1, WRITE_WITHIN_S)

    def ask(self, read: Callable[[Record], T]) -> T:
        """What ``read`` says of a record that is only for reading. RecordUnavailable soon where it cannot."""
        return self._reading.ask(read)

    def change(self, write: Callable[[Record], T]) -> T:
        """The same of one for writing. After RecordUnavailable it may have been done all the same."""
        return self._writing.ask(write)


class _Task:
    """Something to ask. The lock guards ``record``: who gives up must end this task, not the next."""

    def __init__(self, call: Callable[[Record], Any]) -> None:
        self.call, self.done, self.given_up = call, threading.Event(), False
        self.answer: Any = None
        self.error: BaseException | None = None
        self.lock = threading.Lock()
        self.record: Record | None = None

    def run(self, record: Record) -> None:
        with self.lock:
            if self.given_up:
                return
            self.record = record
        try:
            self.answer = self.call(record)
        except BaseException as error:
            self.error = error
        with self.lock:
            self.record = None
        self.done.set()

    def give_up(self) -> None:
        with self.lock:
            self.given_up = True
            if self.record:
                self.record.abort()


class _Crew:
    """Some threads, each with a record of its own; they begin with the first task."""

    def __init__(self, opened: Callable[[], Record], size: int, within_s: float) -> None:
        self._opened, self._size, self._within_s = opened, size, within_s
        self._room = threading.Semaphore(2 * size)  # as many wait as are at work
        self._tasks: SimpleQueue[_Task] = SimpleQueue()
        self._starting, self._started = threading.Lock(), False

    def ask(self, call: Callable[[Record], T]) -> T:
        if not self._room.acquire(blocking=False):
            raise RecordUnavailable(BUSY)
        self._start()
        task = _Task(call)
        self._tasks.put(task)
        if not task.done.wait(self._within_s):
            task.give_up()
            raise RecordUnavailable(LATE)
        if task.error:
            raise task.error
        answer: T = task.answer
        return answer

    def _start(self) -> None:
        with self._starting:
            for n in range(0 if self._started else self._size):
                threading.Thread(target=self._work, name=f"record-{n}", daemon=True).start()
            self._started = True

    def _work(self) -> None:
        record = self._opened()
        while True:
            self._tasks.get().run(record)
            self._room.release()
