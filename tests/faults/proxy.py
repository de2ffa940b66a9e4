"""The network between a program and Redis, in our hands. It knows messages, so it can lose exactly one of them.

    program ──> Proxy ──> Redis

A thread for each connection passes requests on as they come, and hands the answers back. A ``rule`` may strike at one
message; gates and a delay slow down or stop them all, as a network would: late, but in order.
"""

from __future__ import annotations

import hashlib
import select
import socket
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from _jobqueue.store.scripts import Script

NAMES = {Script(path.stem).sha: path.stem for path in Script.folder.glob("*.lua")}
CONTAINERS = ("CLIENT", "CONFIG", "SCRIPT")  # commands of commands
BEFORE, APPLIED, AFTER = MOMENTS = ("before", "applied", "after")


class Message(NamedTuple):
    """A request on its way. Both numbers start at 1; ``nth`` counts those of its label."""

    number: int
    label: str  # the script's name, else the command
    nth: int
    connection: int
    words: list[bytes]


@dataclass(frozen=True)
class Strike:
    """Do something and cut the connection: before a message reaches Redis, once Redis has applied it but the answer
    has not arrived, or after the answer has."""

    moment: str
    act: Callable[[], object] = lambda: None


@dataclass(frozen=True)
class Answer:
    """What the program gets at once instead of Redis's answer. Redis is not asked. A cut may follow."""

    raw: bytes
    cut: bool = False


Rule = Callable[[Message], Strike | Answer | None]


def strike_at(label: str, nth: int, strike: Strike | Answer) -> Rule:
    """The rule that strikes at one message and lets all others pass."""
    return lambda message: strike if (message.label, message.nth) == (label, nth) else None


class Proxy:
    """Listens on a free port of its own, ``url``, in front of the Redis at ``port``. Its rule may be changed at any time."""

    def __init__(self, port: int, *, remember: bool = True) -> None:
        """``remember`` keeps all messages in ``seen``: not where it goes on for long."""
        self.upstream, self.remember, self._count = port, remember, 0
        self.rule: Rule = lambda message: None
        self.delay_s: Callable[[], float] = lambda: 0.0  # of each message, one way
        self.requests, self.replies = threading.Event(), threading.Event()  # cleared: they wait
        self.requests.set()
        self.replies.set()
        self.refusing = False  # new connections
        self.seen: list[Message] = []
        self.struck, self.strikes = threading.Event(), 0
        self._nth: Counter[str] = Counter()
        self._lock = threading.Lock()  # guards the counts, `seen` and `_links`
        self._links: dict[int, tuple[socket.socket, socket.socket]] = {}
        self._deaf: set[int] = set()
        self._closed = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """End every connection that there is."""
        with self._lock:
            links = list(self._links.values())
        for link in links:
            _hang_up(*link)

    def deafen(self, share: Callable[[], bool]) -> int:
        """Half-open: nothing passes on these connections any more, but both ends believe in them. Returns how many."""
        with self._lock:
            chosen = {number for number in self._links if share()}
            self._deaf |= chosen
        return len(chosen)

    @contextmanager
    def stalled(self, *, requests: bool = True, replies: bool = True) -> Iterator[None]:
        """Nothing passes meanwhile; what was sent arrives late."""
        gates = [gate for gate, stop in ((self.requests, requests), (self.replies, replies)) if stop]
        for gate in gates:
            gate.clear()
        try:
            yield
        finally:
            for gate in gates:
                gate.set()

    def heal(self) -> None:
        """As at the start: everything passes, at once."""
        self.rule, self.delay_s, self.refusing = lambda message: None, lambda: 0.0, False
        self.requests.set()
        self.replies.set()
        with self._lock:
            deaf, self._deaf = self._deaf, set()
            links = [self._links[number] for number in deaf if number in self._links]
        for link in links:
            _hang_up(*link)

    def close(self) -> None:
        self._closed.set()
        self.heal()
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        number = 0
        while not self._closed.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            number += 1
            if self.refusing:
                client.close()
            else:
                threading.Thread(target=self._serve, args=(client, number), daemon=True).start()

    def _serve(self, client: socket.socket, number: int) -> None:
        try:
            upstream = socket.create_connection(("127.0.0.1", self.upstream), timeout=5)
        except OSError:
            client.close()
            return
        upstream.settimeout(None)
        for end in (client, upstream):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self._links[number] = client, upstream
        try:
            self._pass(client, upstream, number)
        except (OSError, EOFError, ValueError):
            pass
        finally:
            with self._lock:
                del self._links[number]
            _hang_up(client, upstream)
            client.close()
            upstream.close()

    def _pass(self, client: socket.socket, upstream: socket.socket, number: int) -> None:
        """Requests and answers, until one end hangs up or the connection is to be cut."""
        asked, answered = _Stream(client), _Stream(upstream)
        owed: deque[Strike | Answer | None] = deque()  # the fates of the requests that have no answer yet
        poll = select.poll()  # select.select() knows no numbers above 1,023
        for end in (client, upstream):
            poll.register(end, select.POLLIN)
        while True:
            ready = [number for number, _ in poll.poll()]
            for request in asked.read() if client.fileno() in ready else ():
                fate = self._fate(request, number)
                if isinstance(fate, Strike) and fate.moment == BEFORE:
                    self._strike(fate)
                    return
                owed.append(fate)
                if not isinstance(fate, Answer):
                    self._travel(self.requests, number)
                    upstream.sendall(request)
            answers = answered.read() if upstream.fileno() in ready else []
            while owed and (answers or isinstance(owed[0], Answer)):
                if not self._hand_back(client, owed.popleft(), answers, number):
                    return

    def _hand_back(
        self, client: socket.socket, fate: Strike | Answer | None, answers: list[bytes], number: int
    ) -> bool:
        """One answer. False when the connection is to be cut."""
        if isinstance(fate, Answer):
            self.struck.set()
            client.sendall(fate.raw)
            return not fate.cut
        answer = answers.pop(0)
        if fate and fate.moment == APPLIED:
            self._strike(fate)
            return False
        self._travel(self.replies, number)
        client.sendall(answer)
        if fate:
            self._strike(fate)
        return fate is None

    def _fate(self, request: bytes, connection: int) -> Strike | Answer | None:
        words = _words(request)
        with self._lock:
            label = _label(words)
            self._nth[label] += 1
            self._count += 1
            message = Message(self._count, label, self._nth[label], connection, words)
            if self.remember:
                self.seen.append(message)
        return self.rule(message)

    def _strike(self, strike: Strike) -> None:
        strike.act()
        with self._lock:
            self.strikes += 1
        self.struck.set()

    def _travel(self, gate: threading.Event, number: int) -> None:
        if delay_s := self.delay_s():
            self._closed.wait(delay_s)
        gate.wait()
        if number in self._deaf:
            while number in self._deaf and not self._closed.wait(0.05):
                pass
            raise EOFError


def _label(words: list[bytes]) -> str:
    command = words[0].decode().upper()
    if command == "EVALSHA":
        return NAMES.get(words[1].decode(), command)
    if command == "EVAL":
        return NAMES.get(hashlib.sha1(words[1], usedforsecurity=False).hexdigest(), command)
    return f"{command} {words[1].decode().upper()}" if command in CONTAINERS else command


class _Stream:
    """The values of the Redis protocol that arrive on a socket, as they came."""

    def __init__(self, end: socket.socket) -> None:
        self.end, self.rest = end, b""

    def read(self) -> list[bytes]:
        """Those that are complete after one look. EOFError at the end."""
        data = self.end.recv(65536)
        if not data:
            raise EOFError
        self.rest += data
        values, at = [], 0
        while (end := _end(self.rest, at)) is not None:
            values.append(self.rest[at:end])
            at = end
        self.rest = self.rest[at:]
        return values


def _end(data: bytes, at: int) -> int | None:
    """Where the value that starts at ``at`` ends; None when it is not all there."""
    head = data.find(b"\r\n", at)
    if head < 0:
        return None
    kind, size, end = data[at : at + 1], data[at + 1 : head], head + 2
    if kind == b"$" and size != b"-1":
        end += int(size) + 2
        return end if end <= len(data) else None
    for _ in range(int(size) if kind == b"*" and size != b"-1" else 0):
        if (item := _end(data, end)) is None:
            return None
        end = item
    return end


def _words(request: bytes) -> list[bytes]:
    """The command and its arguments, of an array of bulk strings."""
    words, at = [], request.index(b"\r\n") + 2
    while at < len(request):
        end = request.index(b"\r\n", at)
        size = int(request[at + 1 : end])
        words.append(request[end + 2 : end + 2 + size])
        at = end + 4 + size
    return words


def _hang_up(*ends: socket.socket) -> None:
    for end in ends:
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it is gone
