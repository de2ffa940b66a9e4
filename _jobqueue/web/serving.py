"""What is ours on waitress, which serves: bounds on what a client can cost, refusals in our words, an end in good order.

Waitress's loop, in the main thread, does all of it but ``Channel.service``, which is for its threads."""

from __future__ import annotations

import errno
import http.client
import logging
import socket
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.buffers import OverflowableBuffer
from waitress.channel import ClientDisconnected, HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError
from waitress.server import MultiSocketServer, TcpWSGIServer
from waitress.task import ErrorTask, Task, ThreadedTaskDispatcher, WSGITask
from waitress.utilities import BadRequest, Error

from _jobqueue.logs import Log
from _jobqueue.processes import Signals, is_child, is_orphan
from _jobqueue.web.heads import frames_too_much, objection
from _jobqueue.web.room import Room
from _jobqueue.web.security import HEADERS
from _jobqueue.web.waiting import KEPT, Asleep

DRAIN_S = 5.0
LINGER_S, LINGER_BYTES, LINGER_PIECE = 5.0, 2**28, 2**18  # for a refused client, who might not read why
NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
ACCEPT_AGAIN_S, SAY_AGAIN_S = 0.5, 60.0


class CannotListen(Exception):
    """A port in use, or a host that is none."""


class Overloaded(Error):
    code = 503


class Parser(HTTPRequestParser):
    completed: bool
    path = ""  # for the log: that of a refused request may never be read
    rest = b""  # what came behind it: waitress would read all of it at once

    def received(self, data: bytes) -> int:
        consumed: int = super().received(data)
        if self.chunked and not self.completed:
            body = self.body_rcv
            unfinished = len(body.control_line) + len(body.trailer)
            if frames_too_much(self.body_bytes_received - len(body), len(body), unfinished):
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
    """Sent whole: with safe headers, its head together with its body."""

    safe = "".join(f"{name}: {value}\r\n" for name, value in HEADERS).encode()

    def build_response_header(self) -> bytes:
        if self.channel.server.house.draining and not self.channel.rest:
            self.set_close_on_finish()
        head: bytes = super().build_response_header()
        return head[:-2] + self.safe + b"\r\n"

    def finish(self) -> None:
        super().finish()
        self.channel.send_answer()


class Served(Answer, WSGITask):
    def get_environment(self) -> dict[str, Any]:
        return {**super().get_environment(), KEPT: self.request.kept}


class Refusal(Answer, ErrorTask):
    def execute(self) -> None:
        error, given_id = self.request.error, self.request.headers.get("X_REQUEST_ID", "")
        headers, body = self.channel.server.application.refuse(error.code, str(error.body), given_id)
        self.status, self.content_length = f"{error.code} {http.client.responses[error.code]}", len(body)
        self.response_headers += headers
        self.request.headers.pop("CONNECTION", None)  # HTTP/1.0 would be promised what it asks for
        self.set_close_on_finish()
        self.write(body)


class Channel(HTTPChannel):
    """One request at a time; what a client does not send or read takes memory and no thread."""

    requests: list[Parser]
    current_outbuf_count: int
    parser_class, task_class, error_task_class = Parser, Served, Refusal
    rest, since, lingers = b"", 0.0, 0  # lingers: bytes of a refused client that are still read, and thrown away

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self.answer: list[bytes] = []
        super().__init__(*arguments, **named)

    def readable(self) -> bool:
        return not (self.requests or self.total_outbufs_len or self.rest or self.will_close or self.close_when_flushed)

    def handle_read(self) -> None:
        if not self.lingers:
            super().handle_read()
            return
        self.lingers -= len(self.recv(LINGER_PIECE))
        if self.lingers <= 0:
            self.handle_close()

    def received(self, data: bytes) -> None:
        if self.request is None:
            data, self.since = data.lstrip(b"\r\n"), time.monotonic()
        super().received(data)
        self.server.house.room.grown += len(data)
        if self.requests[:1] and self.requests[0].error:  # a thread might not be free for long
            self.service()

    def service(self) -> None:
        request = self.requests[0]
        self.rest = request.rest
        try:
            super().service()
        except Asleep as asleep:
            return asleep.sleeper.then(partial(self.server.add_task, self))
        except BaseException:
            self.server.house.log.failure("a request went wrong below its application")
            self.cancel()
            self.server.pull_trigger()
        if request.error and self.connected and not self.total_outbufs_len:
            self.linger()
        elif self.rest:
            self.server.trigger.pull_trigger(self.go_on)

    def linger(self) -> None:
        """A socket that is closed with unread data takes its last answer back: wait until the client closes."""
        self.close_when_flushed, self.lingers, self.since = False, LINGER_BYTES, time.monotonic()
        self.rest = b""
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            self.handle_close()

    def go_on(self) -> None:
        """With what came behind a request, once its answer has left."""
        if self.rest and not (self.requests or self.total_outbufs_len or self.will_close or self.close_when_flushed):
            rest, self.rest = self.rest, b""
            self.received(rest)

    def write_soon(self, data: bytes) -> int:
        if not self.connected:
            raise ClientDisconnected
        self.answer.append(data)
        return len(data)

    def send_answer(self) -> None:
        data, self.answer = b"".join(self.answer), []
        with self.outbuf_lock:
            sent = 0 if self.total_outbufs_len or not self.connected else self.send(data, do_close=False)
            if sent < len(data):  # the loop sends the rest
                self.since = time.monotonic()
                super().write_soon(data[sent:])
                self.server.house.room.grown += len(data) - sent

    def handle_write(self) -> None:
        super().handle_write()
        with self.outbuf_lock:
            if self.current_outbuf_count and not self.total_outbufs_len:  # a buffer keeps what it has given away
                self.outbufs, self.current_outbuf_count = [OverflowableBuffer(self.adj.outbuf_overflow)], 0
        self.go_on()

    def handle_close(self) -> None:
        super().handle_close()
        self.rest, self.request = b"", None

    def weight(self) -> int:
        bodies = [each.body_rcv for each in (self.request, *self.requests) if each is not None]
        return self.total_outbufs_len + sum(len(body) for body in bodies if body is not None)

    def waits_for_its_client(self) -> bool:
        return not self.requests

    def give_up(self) -> None:
        if self.request is None:
            return self.handle_close()
        self.request.error, self.request.completed = Overloaded("too much is being sent at once; try again"), True
        self.requests, self.request = [self.request], None
        self.service()

    def is_idle(self) -> bool:
        if self.requests or self.request is not None or self.total_outbufs_len or self.rest:
            return False
        try:
            return not self.socket.recv(1, socket.MSG_PEEK)
        except OSError:  # nothing to read
            return True


class Listener(TcpWSGIServer):
    channel_class = Channel
    accept_at, said_at = 0.0, -SAY_AGAIN_S

    def __init__(self, house: Server, *arguments: Any, **named: Any) -> None:
        self.house = house
        super().__init__(*arguments, **named)

    def set_reuse_addr(self) -> None:
        super().set_reuse_addr()
        if is_child():  # sister processes listen on the port too: the kernel shares out the connections
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)

    def add_task(self, channel: Channel) -> None:
        if not channel.requests[0].error:
            super().add_task(channel)

    def readable(self) -> bool:
        self.house.room.make()
        return bool(super().readable() and time.monotonic() >= self.accept_at)

    def accept(self) -> Any:
        try:
            return super().accept()
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            now = time.monotonic()
            if now - self.said_at > SAY_AGAIN_S:
                self.house.log.warning(f"new connections wait: {error.strerror}")
                self.said_at = now
            self.accept_at = now + ACCEPT_AGAIN_S
            return None

    def maintenance(self, now: float) -> None:
        for channel in list(self.active_channels.values()):
            lingered = channel.lingers and time.monotonic() - channel.since > LINGER_S
            if lingered or (not channel.requests and channel.last_activity < now - self.adj.channel_timeout):
                channel.handle_close()  # at once: waitress would first have it take what it does not read

    def stop(self) -> None:
        """Take in who is at the door, then close it."""
        while before := self.accepting and len(self.active_channels) + 1:
            self.handle_accept()
            if len(self.active_channels) + 1 == before:
                wasyncore.dispatcher.close(self)  # but not the trigger


class Server(MultiSocketServer):
    """For waitress.serve. It listens from the start, or raises OSError or ValueError; a signal ends ``run``."""

    draining = False

    def __init__(
        self, log: Log, signals: Signals, stopping: Callable[[], None], url: str, application: Any, **settings: Any
    ) -> None:
        try:
            adj, threads = Adjustments(**settings), ThreadedTaskDispatcher()
            super().__init__({}, adj, [], threads)
            self.log, self.signals, self.stopping, self.url = log, signals, stopping, url
            self.room = Room(self.channels)
            common = {"map": self.map, "dispatcher": threads, "adj": adj}
            self.listeners = [Listener(self, application, sockinfo=where, **common) for where in adj.listen]
        except (OSError, ValueError) as error:
            raise CannotListen(getattr(error, "strerror", None) or error) from error
        threads.set_thread_count(adj.threads)
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # a line for each request that waits for a thread

    def print_listen(self, _: str) -> None:
        self.log("listening", url=self.url)

    def channels(self) -> list[Channel]:
        return [each for each in list(self.map.values()) if isinstance(each, Channel)]

    def run(self) -> None:
        threading.Thread(target=self.end, daemon=True).start()
        super().run()

    def end(self) -> None:
        """After a signal take no more requests, answer what has come in, and let ``run`` return."""
        while not self.signals.wait(1.0) and not is_orphan():
            pass
        self.draining, deadline = True, time.monotonic() + DRAIN_S
        self.stopping()
        for listener in self.listeners:
            listener.trigger.pull_trigger(listener.stop)
        while self.is_serving():
            self.listeners[0].trigger.pull_trigger(self.close_idle)
            if self.signals.wait(0.02) or time.monotonic() > deadline:
                break
        self.listeners[0].trigger.pull_trigger(self.map.clear)

    def is_serving(self) -> bool:
        return any(each.accepting for each in self.listeners) or not all(each.lingers for each in self.channels())

    def close_idle(self) -> None:
        for channel in self.channels():
            if channel.is_idle():
                channel.handle_close()
