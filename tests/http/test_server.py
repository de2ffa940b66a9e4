"""The server's threads: who leads, who serves, and that nothing is lost between them."""

from __future__ import annotations

import http.client
import random
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from tests.harness import Program, System, eventually, free_port

Start = Callable[..., "Client"]


class Client:
    """Calls one odd server, each time over a connection of its own unless told otherwise."""

    def __init__(self, program: Program, port: int) -> None:
        self.program, self.port = program, port

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)

    def raw(self, sent: bytes = b"") -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        connection.sendall(sent)
        return connection

    def has_read_all(self) -> None:
        """What was sent before has been read: it accepts in order, and refuses at once."""
        refused = self.raw(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5000000000\r\n\r\n")
        assert all_of(refused).startswith(b"HTTP/1.1 413 ")

    def get(self, path: str, connection: http.client.HTTPConnection | None = None) -> str:
        connection = connection or self.connect()
        connection.request("GET", path)
        answer = connection.getresponse()
        assert answer.status == 200
        return answer.read().decode()


@pytest.fixture
def start(system: System) -> Start:
    def started(threads: int) -> Client:
        port = free_port()
        program = system.start("tests/http/odd_server.py", API_PORT=str(port), API_THREADS=str(threads))
        program.says("listening")
        return Client(program, port)

    return started


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(64) as threads:
        yield threads


def asking(path: str, more: str = "") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: x\r\n{more}\r\n".encode()


def all_of(connection: socket.socket) -> bytes:
    """Everything until the server hangs up."""
    return b"".join(iter(lambda: connection.recv(65536), b""))


def test_a_slow_request_holds_nobody_up(start: Start, pool: ThreadPoolExecutor) -> None:
    client = start(threads=2)
    slow = pool.submit(client.get, "/ms/4000/slow")
    eventually(lambda: client.get("/most"), equals="2")
    for n in range(100):
        assert client.get(f"/say/{n}") == str(n)
    assert not slow.done()
    assert slow.result() == "slow"


def test_as_many_requests_as_there_are_threads_are_served_at_the_same_time_and_no_more(
    start: Start, pool: ThreadPoolExecutor
) -> None:
    client = start(threads=5)
    answers = list(pool.map(client.get, [f"/ms/200/{n}" for n in range(20)]))
    assert answers == [str(n) for n in range(20)]
    assert client.get("/most") == "5"


def test_when_all_requests_are_slow_they_do_not_wait_for_each_other(start: Start, pool: ThreadPoolExecutor) -> None:
    """A leader that is held up is relieved after 5 ms or more: of requests of 50 ms, ten would be served at once."""
    client = start(threads=32)
    list(pool.map(client.get, [f"/ms/50/{n}" for n in range(300)]))
    assert int(client.get("/most")) > 20


def test_who_waits_for_a_thread_is_served_as_soon_as_one_is_free(start: Start) -> None:
    client = start(threads=1)
    began = time.monotonic()
    connections = [client.raw(asking("/ms/20/served")) for _ in range(10)]
    assert all(connection.recv(1000).endswith(b"served") for connection in connections)
    assert time.monotonic() - began < 3  # it asks the sockets once a second when nothing happens


@pytest.mark.long(4)
def test_while_all_threads_are_held_up_others_are_still_let_in_and_refused(start: Start) -> None:
    client = start(threads=2)
    held = [client.raw(asking("/ms/4000/held", "Connection: close\r\n")) for _ in range(2)]
    client.has_read_all()
    waiting = client.raw(asking("/say/served", "Connection: close\r\n"))
    client.has_read_all()
    waiting.setblocking(False)
    with pytest.raises(BlockingIOError):  # it has neither been served nor sent away
        waiting.recv(1)
    waiting.settimeout(30)
    assert all_of(waiting).endswith(b"served")
    assert all(all_of(connection).endswith(b"held") for connection in held)


def test_a_client_that_reads_slowly_holds_nobody_up_and_gets_everything(start: Start) -> None:
    client = start(threads=1)
    size = 40_000_000
    slow = client.raw(asking(f"/bytes/{size}", "Connection: close\r\n"))
    for n in range(100):
        assert client.get(f"/say/{n}") == str(n)
    assert len(all_of(slow).partition(b"\r\n\r\n")[2]) == size


def test_pipelined_requests_are_answered_in_their_order(start: Start) -> None:
    client = start(threads=4)
    paths = [f"/ms/{30 * (n % 3)}/{n}" for n in range(30)]
    connection = client.raw(b"".join(map(asking, paths)) + asking("/say/last", "Connection: close\r\n"))
    bodies = [answer.partition(b"\r\n\r\n")[2] for answer in all_of(connection).split(b"HTTP/1.1 200 OK\r\n")[1:]]
    assert bodies == [*(str(n).encode() for n in range(30)), b"last"]


def test_in_a_burst_each_request_is_answered_once_with_its_own_answer(start: Start, pool: ThreadPoolExecutor) -> None:
    client = start(threads=8)

    def talk(n: int) -> list[str]:
        connection, dice = client.connect(), random.Random(n)
        kinds = dice.choices(["/say", "/ms/1", "/ms/15", "/ms/300"], [300, 20, 20, 3], k=40)
        return [client.get(f"{kind}/{n}-{turn}", connection) for turn, kind in enumerate(kinds)]

    answers = list(pool.map(talk, range(50)))
    assert answers == [[f"{n}-{turn}" for turn in range(40)] for n in range(50)]
    assert client.get("/often") == "1"


def test_when_stopped_it_answers_what_has_come_in_also_what_still_waits(start: Start) -> None:
    client = start(threads=1)
    first = client.raw(asking("/ms/700/first"))
    waiting = [client.raw(asking("/ms/50/waited")) for _ in range(10)]
    client.has_read_all()
    client.program.signal(signal.SIGTERM)
    assert client.program.exits() == 0
    assert all_of(first).endswith(b"first")
    assert all(all_of(connection).endswith(b"waited") for connection in waiting)


def test_an_application_that_wants_to_exit_loses_its_connection_and_nothing_else(start: Start) -> None:
    client = start(threads=1)
    for _ in range(3):
        assert all_of(client.raw(asking("/exit"))) == b""
    assert client.get("/say/alive") == "alive"


def test_after_too_many_connections_it_listens_again(start: Start) -> None:
    client = start(threads=1)
    with ExitStack() as crowd:
        for _ in range(905):
            crowd.enter_context(client.raw())
        client.program.says("connection limit")
        late = crowd.enter_context(client.raw(asking("/say/late", "Connection: close\r\n")))
        late.settimeout(0.5)
        with pytest.raises(TimeoutError):
            late.recv(1)
    assert client.get("/say/alive") == "alive"
