"""Lines to a descriptor, written by one thread, so that nobody else waits: not for a reader that has stalled, a pipe that is
closed, a terminal that is gone or a disk that is full.

Lines wait in a bounded queue. Lines that do not fit, or that the descriptor refuses, are dropped and counted. Their number
follows the next lines that can be written. A forked child has no such thread: it writes by itself, but waits for
a stalled reader once only.
"""

from __future__ import annotations

import atexit
import os
import select
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import accumulate
from queue import Empty, SimpleQueue
from typing import TextIO, cast

LIMIT_BYTES = 4 * 2**20  # that may wait: some seconds of a busy worker
BATCH_BYTES = select.PIPE_BUF  # larger writes to a pipe that several processes share could mix
FLUSH_S = 1.0  # an exit waits so long for lines to be written
SAY_S = 1.0  # how often dropped lines are told of while they go on being dropped

_Item = bytes | threading.Event  # an event is set when all before it is written


def descriptor_of(stream: TextIO | None) -> int | None:
    try:
        return stream.fileno() if stream else None
    except (OSError, ValueError):  # it is none of the system's
        return None


def fill_standard_descriptors() -> None:
    """Open those that whoever started us has closed: a connection that got the number of stderr would be written to."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


class Output:
    """``dropped`` makes the line that tells a number of dropped ones. Without a descriptor all are dropped."""

    def __init__(self, descriptor: int | None, dropped: Callable[[int], bytes]) -> None:
        self._descriptor, self._line_on_dropped = descriptor, dropped
        self._lines: SimpleQueue[_Item] = SimpleQueue()
        self._lock = threading.Lock()  # of the next two
        self._waiting_bytes = self._dropped = 0
        self._told = 0.0
        self._torn = False  # the last line was written in part
        self._alone = self._stalled = False
        if descriptor is not None:
            threading.Thread(target=self._run, name="output", daemon=True).start()
            os.register_at_fork(after_in_child=self._forked)
            atexit.register(self.flush)

    def write(self, line: bytes) -> None:
        """Without waiting. ``line`` ends in a newline."""
        if self._descriptor is None:
            return
        if self._alone:
            self._write_alone(line)
            return
        with self._lock:
            if self._waiting_bytes + len(line) > LIMIT_BYTES:
                self._dropped += 1
            else:
                self._lines.put(line)  # first: an exception thrown into this thread may come between the two
                self._waiting_bytes += len(line)

    def flush(self, within_s: float = FLUSH_S) -> bool:
        """Wait until what was written before is out, or for ``within_s``."""
        if self._descriptor is None or self._alone:
            return True
        written = threading.Event()
        self._lines.put(written)
        return written.wait(within_s)

    # -- the thread

    def _run(self) -> None:
        while True:
            try:
                self._write_for_ever()
            except Exception:  # no memory, for a moment
                with self._lock:
                    self._dropped += 1

    def _write_for_ever(self) -> None:
        item: _Item | None = None
        while True:
            item = item or self._lines.get()
            if isinstance(item, bytes):
                batch, item = self._batch(item)
                self._write_batch(batch)
                self._tell_dropped(caught_up=item is None)
            else:
                self._tell_dropped(caught_up=True)
                item.set()
                item = None

    def _batch(self, first: bytes) -> tuple[list[bytes], _Item | None]:
        """Lines that make one write, or one longer line; and the item after them, if it is there."""
        batch: list[bytes] = []
        size, item = 0, cast("_Item | None", first)
        while isinstance(item, bytes) and (not batch or size + len(item) <= BATCH_BYTES):
            batch.append(item)
            size += len(item)
            try:
                item = self._lines.get_nowait()
            except Empty:
                item = None
        with self._lock:
            self._waiting_bytes -= size
        return batch, item

    def _write_batch(self, batch: list[bytes]) -> None:
        sent = self._send(b"".join(batch))
        lost = sum(end > sent for end in accumulate(map(len, batch)))
        if lost:
            with self._lock:
                self._dropped += lost

    def _tell_dropped(self, caught_up: bool) -> None:
        if not self._dropped or not (caught_up or time.monotonic() > self._told + SAY_S):
            return
        with self._lock:
            dropped, self._dropped = self._dropped, 0
        self._told = time.monotonic()
        line = self._line_on_dropped(dropped)
        if self._send(line) < len(line):
            with self._lock:
                self._dropped += dropped

    def _send(self, data: bytes) -> int:
        """How much of it was taken. Blocks as long as the reader does."""
        assert self._descriptor is not None
        start, sent = int(self._torn), 0
        rest = memoryview(b"\n" * start + data)
        while sent < len(rest):
            try:
                sent += os.write(self._descriptor, rest[sent:])
            except BlockingIOError:  # whoever shares the descriptor has made it so
                self._wait_until_ready(None)
            except OSError:
                break
        if sent:
            self._torn = rest[sent - 1] != ord("\n")
        return max(0, sent - start)

    def _wait_until_ready(self, timeout_s: float | None) -> bool:
        assert self._descriptor is not None
        ready = select.poll()
        ready.register(self._descriptor, select.POLLOUT)
        return bool(ready.poll(None if timeout_s is None else timeout_s * 1000))

    # -- in a forked child

    def _forked(self) -> None:
        self._alone, self._lines, self._lock = True, SimpleQueue(), threading.Lock()
        self._waiting_bytes = self._dropped = 0

    def _write_alone(self, line: bytes) -> None:
        assert self._descriptor is not None
        for at in range(0, len(line), BATCH_BYTES):
            self._stalled = not self._wait_until_ready(0 if self._stalled else FLUSH_S)
            if self._stalled:
                return
            with suppress(OSError):
                os.write(self._descriptor, line[at : at + BATCH_BYTES])
