"""The HTTP server: waitress's parser, channels and tasks, with a loop and threads of our own.

    thread          owns                                               stopped by
    main            start, drain, exit                                 SIGTERM or SIGINT; the second one hurries it
    crew (N + 1)    the request that it serves; the leader, the loop   the end of the process
    watch           looks whether the leader is held up                the end of the process

Python runs one thread at a time, and to wake another one for each request costs more than most requests. So one of the
crew leads: it asks the sockets, reads, and serves what came in by itself. When a request holds it up for some
milliseconds (a long poll, a slow Redis), the watch gives the lead to another thread, and who has lost it only finishes
its request. While requests are slow anyway, the lead is given away before each of them. N requests are served at the
same time; the one thread that remains then leads without serving: it still accepts, reads and refuses.

``Crew._lock`` guards who leads and what waits; ``Crew._watching`` what the selector is told. Only the leader reads,
accepts and closes; a channel's answer is written by the thread that serves it, or by the leader once the client is slow
to read.
"""

from __future__ import annotations

import http.client
import math
import re
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Protocol

from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import ClientDisconnected, HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError
from waitress.server import TcpWSGIServer
from waitress.task import ErrorTask, Task, WSGITask

from _jobqueue.config import Config
from _jobqueue.logs import Log
from _jobqueue.processes import Signals, is_child, is_orphan
from _jobqueue.web.problems import OURS_TO_FIND
from _jobqueue.web.security import HEADERS

# Our limits in front of waitress's own, which are a gigabyte of body and a quarter megabyte of headers.
SETTINGS = {
    "ident": None,
    "max_request_header_size": 16 * 1024,
    "connection_limit": 900,  # idle clients are cheap (the default of 100 lets them lock others out), open files are 1,024
    "channel_timeout": 20,
    "clear_untrusted_proxy_headers": False,  # security.py reads X-Forwarded-For; on a malformed one waitress answers by itself
    "expose_tracebacks": False,
}
DRAIN_S = 5.0
CLEAN_S = 10.0  # between two looks for connections that have been silent for too long
LOOK_S = 1.0
MOST_ACCEPTED = 64
HELD_UP_S = 0.005  # a leader that serves one request for so long, or twice so long, loses the lead
DOZE_S = 0.1  # without a request for so long, the watch sleeps until the next one
SLOW_S, SLOW_SHARE_S = 0.003, 0.001  # a request is slow from here on; served beside n others, from n times the share
SLOW_ENOUGH, SLOWEST = 8, 16  # so many more slow requests than quick ones change the way, and are remembered at most

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


class Application(Protocol):
    """What is served."""

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]: ...

    def refuse(self, status: int, detail: str, request_id: str) -> tuple[list[tuple[str, str]], bytes]:
        """Headers and body of the answer to what could not be read as a request."""


# -------------------------------------------------------------------------------------------------------- the crew


class Crew:
    """The threads that serve, one of which leads. Waitress knows it as its task dispatcher."""

    def __init__(self, threads: int, sockets: dict[int, Any], log: Log, failed: Callable[[], None]) -> None:
        self.threads, self.sockets, self.log, self.failed = threads, sockets, log, failed
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)  # crew without anything to do
        self._awake = threading.Condition(self._lock)  # the watch
        self._leader: int | None = None
        self._looking = False  # the leader asks the sockets, or is about to
        self._waiting: deque[Channel] = deque()  # a request has been read
        self._refused: deque[Channel] = deque()  # what cannot be read as a request
        self._serving = 0
        self._held_by = 0  # the leader serves its so many-th request; 0: it serves none
        self._served = 0
        self._slow = 0
        self._dozing = False
        self._watching = threading.Lock()
        self._selector = selectors.DefaultSelector()
        self._watched: dict[int, int] = {}
        self._mine = threading.local()
        self._clean_at = 0.0
        self.listeners: list[Listener] = []

    def start(self) -> None:
        self.listeners = [each for each in self.sockets.values() if isinstance(each, Listener)]
        for each in self.sockets.values():
            self.watch(each)
        for target in (*[self._work] * (self.threads + 1), self._watch):
            threading.Thread(target=self._guarded, args=(target,), daemon=True).start()

    def _guarded(self, target: Callable[[], None]) -> None:
        try:
            target()
        except BaseException:
            self.log.failure("a thread of the server went wrong")
        finally:
            self.failed()  # it does not end by itself: better no process than a deaf one

    # -- called by channels

    def add_task(self, channel: Channel) -> None:
        """A request has been read: by the leader, or with another one by who has just served that."""
        (self._refused if channel.requests[0].error else self._waiting).append(channel)

    def look_again(self) -> None:
        """Something has happened to the channel that the calling thread serves."""
        self.watch(self._mine.channel)

    def watch(self, each: Any) -> None:
        """Have the selector report what a socket waits for now. The kernel takes it while the leader asks."""
        with self._watching:
            fd = each._fileno
            if fd is None:  # closed
                return
            wanted = (READ if each.readable() else 0) | (WRITE if each.writable() else 0)
            known = self._watched.get(fd, 0)
            if wanted == known:
                return
            if not wanted:
                self._selector.unregister(fd)
            elif known:
                self._selector.modify(fd, wanted, each)
            else:
                self._selector.register(fd, wanted, each)
            self._watched[fd] = wanted

    def unwatch(self, fd: int | None) -> None:
        """After a channel has forgotten its socket's number and before that is closed: it may be another one's soon."""
        with self._watching:
            if fd is not None and self._watched.pop(fd, 0):
                self._selector.unregister(fd)

    # -- the threads

    def _work(self) -> None:
        while True:
            channel = self._next()
            if channel is None:
                self._look()
            else:
                self._serve(channel)

    def _next(self) -> Channel | None:
        """Wait for something to do: a request, or None for the leader that has to look for one."""
        me = threading.get_ident()
        with self._lock:
            while True:
                if self._leader is None:
                    self._leader = me
                room = self._waiting and self._serving < self.threads
                if self._leader == me:
                    if room:
                        self._lead_on()
                        break
                    self._looking = True
                    return None
                if room and self._looking:  # it has found no room when it began to look
                    break
                self._idle.wait()
            self._serving += 1
            return self._waiting.popleft()

    def _lead_on(self) -> None:
        """Before the leader serves a request: it keeps the lead for as long as that does not hold it up."""
        if self._slow >= SLOW_ENOUGH:
            self._give_way()
            return
        self._served += 1
        self._held_by = self._served
        if self._dozing:
            self._dozing = False
            self._awake.notify()

    def _give_way(self) -> None:
        """There is always somebody to lead: one thread more than may serve."""
        self._leader, self._held_by = None, 0
        self._idle.notify()

    def _serve(self, channel: Channel) -> None:
        beside, began = self._serving, time.monotonic()
        self._answer(channel)
        slow = time.monotonic() - began > max(SLOW_S, beside * SLOW_SHARE_S)
        with self._lock:
            self._serving -= 1
            self._slow = min(self._slow + 1, SLOWEST) if slow else max(self._slow - 1, 0)
            if self._leader == threading.get_ident():
                self._held_by = 0
        self._refuse()

    def _answer(self, channel: Channel) -> None:
        self._mine.channel = channel
        try:
            channel.service()
        except BaseException:
            self.log.failure("a request went wrong below its application")
            channel.cancel()
            self.watch(channel)

    def _refuse(self) -> None:
        """What cannot be read is refused at once, also when there is no room to serve more."""
        while self._refused:
            try:
                channel = self._refused.popleft()
            except IndexError:  # another thread was quicker
                return
            self._answer(channel)

    def _look(self) -> None:
        """Ask the sockets once, and do what they are ready for. Only the leader does."""
        ready = self._selector.select(LOOK_S)
        self._looking = False
        listeners = []
        for key, events in ready:
            each = key.data
            if each.accepting:
                listeners.append(each)
            elif self.sockets.get(key.fd) is each:
                self._handle(each, events)
        for listener in listeners:  # last: what is accepted may get the number of a socket that was closed just now
            self._accept(listener)
        self._refuse()
        self._clean()

    def _accept(self, listener: Listener) -> None:
        """Some at once: there may be many requests to serve before the sockets are asked again."""
        for _ in range(MOST_ACCEPTED):
            before = len(self.sockets)
            wasyncore.read(listener)
            if len(self.sockets) == before or not listener.readable():
                break
        self.watch(listener)

    def _handle(self, each: Any, events: int) -> None:
        if events & WRITE and each.writable():
            wasyncore.write(each)
        elif events & READ and each.readable():
            wasyncore.read(each)
            if getattr(each, "requests", None):  # nothing changes for the selector until it is answered
                return
        self.watch(each)

    def _clean(self) -> None:
        """Close what has been silent for too long; listen again after there were too many connections."""
        now = time.time()
        if now >= self._clean_at:
            self._clean_at = now + CLEAN_S
            for listener in self.listeners:
                listener.maintenance(now)
        for listener in self.listeners:
            if listener.in_connection_overflow:
                self.watch(listener)

    def _watch(self) -> None:
        """Give the lead to another thread when a request holds up the leader."""
        seen, quiet = 0, 0
        with self._lock:
            while True:
                self._awake.wait(HELD_UP_S)
                if self._held_by and self._held_by == seen:
                    self._give_way()
                quiet = quiet + 1 if self._served == seen else 0
                seen = self._served
                if quiet * HELD_UP_S > DOZE_S:
                    self._dozing = True
                    while self._dozing:
                        self._awake.wait()
                    quiet = 0


# ----------------------------------------------------------------------------------------------- what waitress does


ENCODINGS = re.compile(rb"^transfer-encoding:(.*)", re.IGNORECASE | re.MULTILINE)


class Parser(HTTPRequestParser):
    """Waitress's, without what it stumbles over."""

    path = ""  # read when a client hangs up on a refusal, whose address may never have been parsed

    def received(self, data: bytes) -> int:
        consumed: int = super().received(data)
        if self.completed:  # refused, or without a body: waitress would still ask for one, and wait for it
            self.expect_continue = False
        return consumed

    def parse_header(self, header_plus: bytes) -> None:
        try:
            super().parse_header(header_plus)
        except ValueError:  # "http://[", a Content-Length of 5,000 digits
            raise ParsingError("a number or an address in the header is malformed") from None
        # Two opinions on where the body ends, one of them perhaps a proxy's, are a way to smuggle a second request.
        if "TRANSFER_ENCODING" in self.headers or (self.chunked and "CONTENT_LENGTH" in self.headers):
            raise ParsingError("Transfer-Encoding belongs to HTTP/1.1 and goes without Content-Length")
        if b"\r\n " in header_plus or b"\r\n\t" in header_plus:
            raise ParsingError("a header goes on one line")
        if self.chunked and b",".join(ENCODINGS.findall(header_plus)).strip().lower() != b"chunked":
            raise ParsingError("a body is chunked once")


class _Answer(Task):
    """What all answers have: safe headers, and a head that is sent together with its body."""

    safe = "".join(f"{name}: {value}\r\n" for name, value in HEADERS).encode()

    def build_response_header(self) -> bytes:
        head: bytes = super().build_response_header()
        return head[:-2] + self.safe + b"\r\n"

    def finish(self) -> None:
        super().finish()
        self.channel.send_held()


class _Task(_Answer, WSGITask):
    pass


class _ProblemTask(_Answer, ErrorTask):
    """What waitress refuses by itself, in the words of the application."""

    def execute(self) -> None:
        status = self.request.error.code
        given_id = self.request.headers.get("X_REQUEST_ID", "")
        headers, body = self.channel.server.application.refuse(status, self._detail(status), given_id)
        self.status = f"{status} {http.client.responses[status]}"
        self.response_headers += headers
        self.request.headers.pop("CONNECTION", None)  # HTTP/1.0 would be promised what it asks for
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)

    def _detail(self, status: int) -> str:
        adj = self.channel.adj
        if status == 413:
            return f"the body is larger than {adj.max_request_body_size - 1} bytes"
        if status == 431:
            return f"the headers are larger than {adj.max_request_header_size} bytes"
        return OURS_TO_FIND if status == 500 else str(self.request.error.body)[:200]


class Channel(HTTPChannel):
    """One connection."""

    parser_class = Parser
    task_class = _Task
    error_task_class = _ProblemTask

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self._held: list[bytes] = []
        super().__init__(*arguments, **named)
        self.server.task_dispatcher.watch(self)

    def del_channel(self, map: Any = None) -> None:
        fd = self._fileno
        super().del_channel(map)
        self.server.task_dispatcher.unwatch(fd)

    def write_soon(self, data: bytes) -> int:
        """Keep a part of an answer until it is complete."""
        if not self.connected:
            raise ClientDisconnected
        self._held.append(data)
        return len(data)

    def send_held(self) -> None:
        """Send what there is of an answer; what the client does not take at once is left to the leader."""
        data, self._held = b"".join(self._held), []
        with self.outbuf_lock:
            sent = 0
            if self.connected and not self.total_outbufs_len:
                sent, _ = self._flush_exception(lambda do_close: self.send(data, do_close), do_close=False)
            if sent < len(data):
                super().write_soon(data[sent:])

    def busy(self) -> bool:
        return bool(self.requests or self.request is not None or self.total_outbufs_len)


class _LastChannel(Channel):
    """When the server has stopped to listen: only what has begun is read to its end."""

    def readable(self) -> bool:
        return bool(super().readable() and self.request is not None)


class Listener(TcpWSGIServer):
    """A listening socket."""

    channel_class = Channel
    next_channel_cleanup = math.inf  # the crew sees to that

    def pull_trigger(self) -> None:
        """Called by a channel for which there is something to do: waitress would look at all of them."""
        self.task_dispatcher.look_again()

    def del_channel(self, map: Any = None) -> None:
        fd = self._fileno
        super().del_channel(map)
        self.task_dispatcher.unwatch(fd)

    def maintenance(self, now: float) -> None:
        """Close the connections that have been silent for too long, also those that do not take their answer."""
        for channel in list(self.active_channels.values()):
            if not channel.requests and channel.last_activity < now - self.adj.channel_timeout:
                channel.will_close = True
                wasyncore.write(channel)


# ----------------------------------------------------------------------------------------------------- the process


class Server:
    """Listens on its sockets from the start: localhost has two. OSError or ValueError: it cannot."""

    def __init__(self, app: Application, config: Config, log: Log, signals: Signals) -> None:
        self.signals = signals
        sockets: dict[int, Any] = {}
        shared = _shared_sockets(config) if is_child() else []
        where = {"sockets": shared} if shared else {"host": config.api_host, "port": config.api_port}
        largest = max(config.max_batch_bytes, config.max_body_bytes) + 1  # the first size that is refused
        adj = Adjustments(**where, max_request_body_size=largest, **SETTINGS)
        self.crew = Crew(config.api_threads, sockets, log, signals.stop)
        common = {"map": sockets, "dispatcher": self.crew, "adj": adj}
        self.listeners = [
            Listener(app, sockinfo=_info(each), _sock=each, bind_socket=False, **common) for each in shared
        ]
        if not shared:
            self.listeners = [Listener(app, sockinfo=info, **common) for info in adj.listen]

    def serve(self) -> None:
        """Serve until a signal; then take no more requests, answer what has come in, and return."""
        self.crew.start()
        while not self.signals.wait(1.0) and not is_orphan():
            pass
        for listener in self.listeners:
            listener.trigger.pull_trigger(partial(_close, listener))
        deadline = time.monotonic() + DRAIN_S
        # The wait comes first: the leader may be reading a request that arrived just before it heard of the end.
        while not self.signals.wait(0.02) and self._busy() and time.monotonic() < deadline:
            pass

    def _busy(self) -> bool:
        channels = [channel for listener in self.listeners for channel in list(listener.active_channels.values())]
        return any(listener.accepting for listener in self.listeners) or any(channel.busy() for channel in channels)


def _close(listener: Listener) -> None:
    """In the thread that leads."""
    wasyncore.dispatcher.close(listener)
    for channel in list(listener.active_channels.values()):
        channel.__class__ = _LastChannel


def _shared_sockets(config: Config) -> list[socket.socket]:
    """A socket of our own for the port that our sister processes listen on too: the kernel shares out the connections."""
    family, kind, protocol, _, address = socket.getaddrinfo(config.api_host, config.api_port, type=socket.SOCK_STREAM)[
        0
    ]
    shared = socket.socket(family, kind, protocol)
    shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    shared.bind(address)
    return [shared]


def _info(bound: socket.socket) -> tuple[Any, ...]:
    return bound.family, bound.type, bound.proto, bound.getsockname()
