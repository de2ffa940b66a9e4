"""What is ours on waitress, which serves: bounds on what a client can cost, refusals in our words, an end in good order."""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from functools import partial
from typing import Any

from waitress.adjustments import Adjustments
from waitress.buffers import OverflowableBuffer
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError
from waitress.server import MultiSocketServer, TcpWSGIServer
from waitress.task import ErrorTask, Task, WSGITask
from waitress.utilities import BadRequest

from _jobqueue.logs import Log
from _jobqueue.processes import is_child
from _jobqueue.web.ending import Ending
from _jobqueue.web.framing import frames_too_much, objection
from _jobqueue.web.room import Room
from _jobqueue.web.security import HEADERS, NO_STORE
from _jobqueue.web.threads import Threads
from _jobqueue.web.waiting import HAS_LEFT, KEPT, Asleep

SEND_BYTES = 2**17  # in the kernel; by itself it would take megabytes of answers for a client that does not read
ACCEPTED_AT_ONCE, ACCEPT_AGAIN_S, SAY_AGAIN_S = 4, 0.5, 60.0


class Parser(HTTPRequestParser):
    completed: bool
    path = ""  # for the log: that of a refused request may never be read
    rest = b""  # what came behind it: waitress would read all of it at once

    def received(self, data: bytes) -> int:
        consumed: int = super().received(data)
        if self.chunked and not self.completed and frames_too_much(self.body_rcv, self.body_bytes_received):
            self.error, self.completed = BadRequest("what stands between the chunks is too much or too long"), True
        if self.completed and not self.empty:
            self.expect_continue = False  # refused, or without a body: waitress would ask for one, and wait
            self.rest, consumed = data[consumed:], len(data)
        return consumed

    def parse_header(self, header_plus: bytes) -> None:
        self.kept: dict[str, Any] = {}
        if why := objection(header_plus):
            raise ParsingError(why)
        try:
            super().parse_header(header_plus)
        except ValueError:  # "http://[", a Content-Length of 5,000 digits
            raise ParsingError("a number or an address in the header is malformed") from None


class Answer(Task):
    # As text at once: waitress takes its time with each header of an application
    safe = "".join(f"{name}: {value}\r\n" for name, value in HEADERS).encode()
    no_store = safe + "{}: {}\r\n".format(*NO_STORE).encode()

    def build_response_header(self) -> bytes:
        if self.channel.adj.ending.begun and not self.channel.rest:
            self.set_close_on_finish()
        head: bytes = super().build_response_header()
        return head[:-2] + (self.safe if b"\r\nCache-Control: " in head else self.no_store) + b"\r\n"

    def finish(self) -> None:
        super().finish()
        self.channel.send_answer()


class Served(Answer, WSGITask):
    def get_environment(self) -> dict[str, Any]:
        environ: dict[str, Any] = super().get_environment()
        environ |= {KEPT: self.request.kept, HAS_LEFT: self.channel.has_left}
        return environ


class Refusal(Answer, ErrorTask):
    def execute(self) -> None:
        error, given_id = self.request.error, self.request.headers.get("X_REQUEST_ID", "")
        headers, body = self.channel.server.application.refuse(error.code, str(error.body), given_id)
        self.status, self.content_length = f"{error.code} {error.reason}", len(body)
        self.response_headers += headers
        self.request.headers.pop("CONNECTION", None)  # HTTP/1.0 would be promised what it asks for
        self.set_close_on_finish()
        self.write(body)


class Channel(HTTPChannel):
    """One request at a time; a slow client takes memory and no thread. All but ``service`` is done by waitress's loop."""

    parser_class, task_class, error_task_class = Parser, Served, Refusal
    rest, answer, current_outbuf_count = b"", b"", 0
    since, lingers = 0.0, False  # since when it sends a request, or is sent an answer, or only listened to
    early = False  # the client has sent more, or left, while a request was served

    def readable(self) -> bool:
        """Also while a request is served: most clients say nothing until its answer has come, and then the loop need not be
        woken to listen again."""
        busy = self.early if self.requests else self.rest
        return not (busy or self.total_outbufs_len or self.will_close or self.close_when_flushed)

    def handle_read(self) -> None:
        self.early = bool(self.requests)
        if not self.early:
            super().handle_read()

    def received(self, data: bytes) -> None:
        if self.lingers:
            return
        if self.request is None:
            data, self.since = data.lstrip(b"\r\n"), time.monotonic()
        super().received(data)
        self.adj.room.grown += len(data)
        if self.requests[:1] and self.requests[0].error:  # at once: no thread may be free for long
            self.service()

    def service(self) -> None:
        request = self.requests[0]
        self.rest = request.rest
        if not request.error:  # else this is the loop
            self.adj.room.wait()
        try:
            super().service()
        except Asleep as asleep:
            return asleep.sleeper.then(partial(self.server.add_task, self))
        if request.error and self.connected and not self.total_outbufs_len:
            # A socket that is closed with unread data takes its last answer back: wait until the client closes.
            self.close_when_flushed, self.lingers, self.rest, self.since = False, True, b"", time.monotonic()
            with suppress(OSError):
                self.socket.shutdown(socket.SHUT_WR)
        elif self.rest:
            self.server.trigger.pull_trigger(self.go_on)
        elif self.early or self.total_outbufs_len or self.will_close or self.close_when_flushed:
            self.server.wake()

    def has_left(self) -> bool:
        """Whether the client has closed its connection, as far as can be known. Whoever has sent more is still there."""
        try:
            return not self.connected or self.socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True

    def go_on(self) -> None:
        """With what came behind a request, once its answer has left."""
        if self.rest and self.connected and not (self.requests or self.total_outbufs_len or self.close_when_flushed):
            rest, self.rest = self.rest, b""
            self.received(rest)

    def write_soon(self, data: bytes) -> int:
        self.answer += data
        return len(data)

    def send_answer(self) -> None:
        data, self.answer = self.answer, b""
        with self.outbuf_lock:
            sent = 0 if self.total_outbufs_len or not self.connected else self.send(data, do_close=False)
            if sent < len(data):  # the loop sends the rest
                self.since = time.monotonic()
                super().write_soon(memoryview(data)[sent:])
                self.adj.room.grown += len(data) - sent

    def handle_write(self) -> None:
        super().handle_write()
        with self.outbuf_lock:
            if self.current_outbuf_count and not self.total_outbufs_len:  # a buffer keeps what it has given away
                self.outbufs, self.current_outbuf_count = [OverflowableBuffer(self.adj.outbuf_overflow)], 0
        self.go_on()


class Listener(TcpWSGIServer):
    channel_class, accept_at, pulled = Channel, -SAY_AGAIN_S, False

    def set_reuse_addr(self) -> None:
        super().set_reuse_addr()
        if is_child():  # its sisters listen on the port too: the kernel shares out the connections
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)

    def add_task(self, channel: Channel) -> None:
        if not channel.requests[0].error:
            super().add_task(channel)

    def pull_trigger(self) -> None:
        """Waitress does so after each answer; `wake` is called where there is something to do."""

    def wake(self) -> None:
        if not self.pulled:  # one wakes the loop for all that was answered before it looks
            self.pulled = self.accepting  # afterwards nobody resets it
            self.trigger.pull_trigger()

    def readable(self) -> bool:
        self.pulled = False
        self.adj.room.make()
        return bool(super().readable() and time.monotonic() >= self.accept_at)

    def handle_accept(self) -> None:
        for _ in range(ACCEPTED_AT_ONCE):
            super().handle_accept()

    def accept(self) -> Any:
        try:
            return super().accept()
        except OSError as error:  # no descriptor is left: the loop would try without a pause
            if time.monotonic() > self.accept_at + SAY_AGAIN_S:
                self.adj.log.warning(f"new connections wait: {error.strerror}")
            self.accept_at = time.monotonic() + ACCEPT_AGAIN_S

    def maintenance(self, now: float) -> None:
        self.adj.room.clear_of_silence(self.active_channels.values(), now)


class Server(MultiSocketServer):
    """For waitress.serve. It listens from the start, or raises OSError or ValueError."""

    def __init__(self, log: Log, ending: Ending, application: Any, **settings: Any) -> None:
        adj = Adjustments(**settings)
        super().__init__({}, adj, [], Threads(adj.threads, log))
        adj.socket_options = [*adj.socket_options, (socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BYTES)]
        adj.log, adj.ending, adj.room = log, ending, Room(self.map, adj)
        self.listeners = [
            Listener(application, self.map, dispatcher=self.task_dispatcher, adj=adj, sockinfo=at) for at in adj.listen
        ]
        ending.watch(self)
