"""How much memory slow clients can take together, and for how long a silent one is kept."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

HELD_BYTES = 40 * 2**20  # or two of the largest bodies
WEIGHED_BYTES = 2**20  # after so many more bytes it is looked whether that is too much
AHEAD_BYTES = 4 * 2**20  # with so many more the loop is behind, and nobody begins an answer
BEHIND_S = 1.0  # and waits so long at most
LINGER_S = 5.0  # a refused client is listened to for so long, or it might not read why


class Room:
    """Where it is too small, those connections are closed whose bytes, times how long it has held them, are most: an honest
    client is quick."""

    def __init__(self, sockets: dict[int, Any], adj: Any) -> None:
        """``sockets``: of the server's loop."""
        self.sockets, self.silence_s = sockets, adj.channel_timeout
        self.size = max(HELD_BYTES, 2 * adj.max_request_body_size)
        self.grown = 0  # counted without a lock: a lost count is made up for by the next
        self.looked = threading.Condition()

    def channels(self) -> list[Any]:
        return [each for each in list(self.sockets.values()) if hasattr(each, "lingers")]

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
                hang_up(channel)
        with self.looked:
            self.looked.notify_all()

    def wait(self) -> None:
        """For the loop to look, where it is behind, for a second at most. Called by a thread that is about to make an answer."""
        if self.grown > AHEAD_BYTES:
            with self.looked:
                self.looked.wait_for(lambda: self.grown <= AHEAD_BYTES, BEHIND_S)

    def clear_of_silence(self, channels: Iterable[Any], now: float) -> None:
        """``now``: time.time()."""
        for channel in channels:
            lingered = channel.lingers and time.monotonic() > channel.since + LINGER_S
            if lingered or (not channel.requests and channel.last_activity < now - self.silence_s):
                hang_up(channel)


def hang_up(channel: Any) -> None:
    """Also where the client reads nothing. The loop closes it: what it has just heard of a socket that we closed here, it
    would tell to the next one of that number."""
    channel.will_close = True
    with suppress(OSError):
        channel.socket.shutdown(socket.SHUT_RDWR)


def held_bytes(channel: Any) -> int:
    """What it has not sent of an answer, and what it has of bodies."""
    bodies = [each.body_rcv for each in (channel.request, *channel.requests) if each is not None]
    return int(channel.total_outbufs_len) + sum(len(body) for body in bodies if body is not None)
