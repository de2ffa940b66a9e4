"""How the server ends: what has come in is answered, nothing new is taken, and nobody is waited for longer than DRAIN_S."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from _jobqueue.processes import Signals, is_orphan

DRAIN_S = 5.0


class Ending:
    """Waits for a signal, or for the death of the parent, in a thread of its own. A second signal hurries it."""

    def __init__(self, signals: Signals, wake_all: Callable[[], None]) -> None:
        """``wake_all``: called when it begins, for the requests that wait for something."""
        self.begun = False  # from here on answers close their connections
        self._signals, self._wake_all = signals, wake_all

    def watch(self, server: Any) -> None:
        threading.Thread(target=self._end, args=(server,), daemon=True).start()

    def _end(self, server: Any) -> None:
        """What touches a socket is done by the server's loop, which ends when its map is empty."""
        while not self._signals.wait(1.0) and not is_orphan():
            pass
        self.begun, deadline = True, time.monotonic() + DRAIN_S
        self._wake_all()
        room = server.adj.room
        for listener in server.listeners:
            listener.trigger.pull_trigger(partial(_close_door, listener))
        while any(each.accepting for each in server.listeners) or not all(each.lingers for each in room.channels()):
            for channel in room.channels():
                channel.server.trigger.pull_trigger(partial(_close_if_idle, channel))
            if self._signals.wait(0.02) or time.monotonic() > deadline:
                break
        server.listeners[0].trigger.pull_trigger(server.map.clear)


def _close_door(listener: Any) -> None:
    """Those who stand at it are let in. Who is in and asks for nothing leaves before it closes: it would ask for more later."""
    before = list(listener.active_channels.values())
    for _ in range(listener.adj.backlog // 4):
        listener.handle_accept()
    for channel in before:
        _close_if_idle(channel)
    listener.accepting = False
    listener.del_channel()
    listener.socket.close()


def _close_if_idle(channel: Any) -> None:
    if channel.requests or channel.request or channel.rest or channel.total_outbufs_len or channel.lingers:
        return
    with suppress(OSError):  # nothing has come
        if channel.socket.recv(1, socket.MSG_PEEK):
            return
    channel.handle_close()
