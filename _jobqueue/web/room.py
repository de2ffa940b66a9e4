"""One bound on the memory that all slow clients together can take."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

HELD_BYTES = 32 * 2**20  # or two of the largest bodies
M_MMAP_THRESHOLD, M_ARENA_MAX = -3, -8  # of glibc's malloc.h
WEIGHED_BYTES = 2**20  # after so many more bytes it is looked whether that is too much


class Room:
    """Where it is too small, those connections are closed whose bytes, times how long it has held them, are most: an honest
    client is quick."""

    def __init__(self, channels: Callable[[], Iterable[Any]], largest_bytes: int) -> None:
        self.channels, self.size = channels, max(HELD_BYTES, 2 * largest_bytes)
        self.grown = 0  # counted without a lock: a lost count is made up for by the next

    def make(self) -> None:
        """Called in each turn of the server's loop."""
        if self.grown < WEIGHED_BYTES:
            return
        self.grown, now = 0, time.monotonic()
        held = {channel: size for channel in self.channels() if (size := held_bytes(channel))}
        too_much = sum(held.values()) - max(held.values(), default=0) - self.size  # any one answer may be large
        for channel in sorted(held, key=lambda each: held[each] * (each.since - now)):
            if too_much > 0 and not channel.requests:  # else its answer is being made
                too_much -= held[channel]
                channel.hang_up()


def give_back_large_blocks() -> None:
    """Have the C library return them to the system at once: a pool for each thread would keep them for a next time."""
    with suppress(OSError, AttributeError):  # not everywhere it can be told
        tell = ctypes.CDLL(None).mallopt
        tell(M_MMAP_THRESHOLD, 64 * 1024)
        tell(M_ARENA_MAX, 2)


def held_bytes(channel: Any) -> int:
    """What it has not sent of an answer, and what it has of bodies."""
    bodies = [each.body_rcv for each in (channel.request, *channel.requests) if each is not None]
    return int(channel.total_outbufs_len) + sum(len(body) for body in bodies if body is not None)
