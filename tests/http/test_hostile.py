"""Clients that do not go on, go on too slowly, or send what is dear to read: they cost nobody else more than a moment."""

from __future__ import annotations

import re
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest
import requests

from _jobqueue.web import room
from _jobqueue.web.framing import objection
from _jobqueue.web.room import AHEAD_BYTES, Room
from tests.harness import Program, System, eventually, free_port

MOST_MB = 150
POST = b"POST /jobs/batch HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.fixture
def crowd() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def connect(system: System, receive_bytes: int = 0) -> socket.socket:
    """``receive_bytes``: of a client that reads little at a time."""
    host, _, port = system.api_url.removeprefix("http://").rpartition(":")
    client = socket.socket()
    client.settimeout(30)
    if receive_bytes:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    client.connect((host, int(port)))
    return client


def send(client: socket.socket, *parts: bytes) -> None:
    """As far as the server listens."""
    try:
        for part in parts:
            client.sendall(part)
    except OSError:
        pass


def answer_of(client: socket.socket) -> bytes:
    found = b""
    try:
        while data := client.recv(65536):
            found += data
    except OSError:
        pass
    return found


def mb(program: Program) -> int:
    return int(re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{program.pid}/status").read_text())[0]) // 1024


def cpu_s(program: Program) -> float:
    times = Path(f"/proc/{program.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return sum(map(int, times)) / 100


def files(program: Program) -> list[str]:
    return [str(link.readlink()) for link in Path(f"/proc/{program.pid}/fd").iterdir() if link.is_symlink()]


def others_are_served(system: System) -> None:
    for n in range(5):
        assert requests.post(f"{system.api_url}/jobs", json={"payload": n}, timeout=10).status_code == 201


# ------------------------------------------------------------------------------------------------- who does not read


def test_clients_that_ask_again_and_again_and_read_nothing_hold_no_thread(system: System, crowd: ExitStack) -> None:
    program = system.api(API_THREADS="4")
    system.post("/jobs/batch", {"jobs": [{"payload": "x" * 1000}] * 200})
    asked = b"GET /jobs?limit=200 HTTP/1.1\r\nHost: localhost\r\n\r\n"
    for _ in range(40):
        send(crowd.enter_context(connect(system, 4096)), asked * 150)
    others_are_served(system)
    assert mb(program) < MOST_MB


def test_the_next_request_of_a_connection_waits_until_the_last_answer_has_left(system: System) -> None:
    system.api()
    job_id = system.submit("x" * 1_000_000)
    with connect(system, 4096) as client:
        client.sendall(f"GET /jobs/{job_id} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        client.sendall(
            POST.replace(b"/batch", b"") + b"Connection: close\r\nContent-Length: 13\r\n\r\n" + b'{"payload":1}'
        )
        assert client.recv(1) == b"H"
        others_are_served(system)
        books = system.get("/metrics").json()
        assert books["total_jobs"] == 6
        assert b"HTTP/1.1 201 Created" in answer_of(client)
    assert system.get("/metrics").json()["total_jobs"] == 7


def test_answers_that_nobody_reads_take_a_bounded_memory(system: System, crowd: ExitStack) -> None:
    program = system.api()
    job_id = system.submit("x" * 1_000_000)
    clients = [crowd.enter_context(connect(system, 4096)) for _ in range(150)]
    for client in clients:
        send(client, f"GET /jobs/{job_id} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    others_are_served(system)
    assert mb(program) < MOST_MB
    assert not [name for name in files(program) if name.startswith("/tmp") and "deleted" in name]


def test_nobody_begins_an_answer_before_the_loop_has_looked_at_what_was_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    space = Room({}, SimpleNamespace(channel_timeout=20, max_request_body_size=1))
    space.grown = AHEAD_BYTES
    space.wait()
    space.grown += 1
    monkeypatch.setattr(room, "BEHIND_S", 0.1)
    space.wait()  # a loop that does not come holds nobody up for ever
    monkeypatch.setattr(room, "BEHIND_S", 600)
    thread = threading.Thread(target=space.wait, daemon=True)
    thread.start()
    thread.join(0.1)
    assert thread.is_alive()
    space.make()
    thread.join(20)
    assert space.grown == 0 and not thread.is_alive()


# ------------------------------------------------------------------------------------------------ who does not go on


def test_uploads_that_stop_take_a_bounded_memory_and_no_files(system: System, crowd: ExitStack) -> None:
    program = system.api()
    for _ in range(60):
        client = crowd.enter_context(connect(system))
        send(client, POST + b"Content-Length: 8000000\r\n\r\n", b" " * 4_000_000)
    others_are_served(system)
    large = requests.post(f"{system.api_url}/jobs/batch", json={"jobs": [{"payload": "x" * 900_000}] * 8}, timeout=30)
    assert large.status_code == 201
    assert mb(program) < MOST_MB
    assert not [name for name in files(program) if "deleted" in name]


def test_who_sends_everything_before_he_reads_is_told_that_it_was_too_much(system: System) -> None:
    system.api()
    with connect(system) as client:
        send(client, POST + b"Content-Length: 20000000\r\n\r\n", *[b" " * 100_000] * 200)
        client.shutdown(socket.SHUT_WR)
        assert answer_of(client).startswith(b"HTTP/1.1 413 ")


def test_silent_clients_are_closed_also_those_that_read_nothing(system: System, crowd: ExitStack) -> None:
    port = free_port()
    system.api_url = f"http://127.0.0.1:{port}"
    program = system.start("tests/http/odd_server.py", API_PORT=str(port), SILENCE_S="1")
    program.says("listening")
    reads_nothing = crowd.enter_context(connect(system, 4096))
    reads_nothing.sendall(b"GET /bytes/9000000 HTTP/1.1\r\nHost: x\r\n\r\n")
    sends_nothing = crowd.enter_context(connect(system))
    begins = crowd.enter_context(connect(system))
    begins.sendall(b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n{")
    assert answer_of(sends_nothing) == answer_of(begins) == b""
    eventually(lambda: sum("socket" in name for name in files(program)), equals=1)


def test_without_descriptors_new_clients_wait_and_it_is_said_once(system: System, crowd: ExitStack) -> None:
    program = system.api()
    others_are_served(system)
    room = len(files(program)) + 10
    resource.prlimit(program.pid, resource.RLIMIT_NOFILE, (room, room))
    clients = [crowd.enter_context(connect(system)) for _ in range(30)]
    program.says("new connections wait: Too many open files")
    before, began = cpu_s(program), time.monotonic()
    eventually(lambda: time.monotonic() - began > 2)
    assert cpu_s(program) - before < 1
    for client in clients:
        client.close()
    others_are_served(system)
    assert program.log.count("new connections wait") == 1


# ---------------------------------------------------------------------------------------------- what is dear to read

DEAR: dict[str, Callable[[], list[bytes]]] = {
    "an endless size of a chunk": lambda: [CHUNKED, b"1;", *[b"a" * 1000] * 4000],
    "an endless trailer": lambda: [CHUNKED, b"1\r\n1\r\n0\r\nX:", *[b"a" * 1000] * 4000],
    "chunks of one byte": lambda: [CHUNKED, *[b"1\r\na\r\n" * 1300] * 500],
    "a line of blanks": lambda: [b"GET / HTTP/1.1\r\nX:" + b" " * 16_000 + b"\0\r\n\r\n"],
    "a line of digits": lambda: [b"GET a://" + b"1" * 16_000 + b" x\r\n\r\n"],
    "empty lines": lambda: [b"\r\n" * 4000] * 500,
}


@pytest.mark.parametrize("parts", DEAR.values(), ids=DEAR)
def test_what_is_dear_to_read_is_refused_early(system: System, parts: Callable[[], list[bytes]]) -> None:
    program = system.api()
    others_are_served(system)
    before = cpu_s(program)
    with connect(system) as client:
        send(client, *parts())
        client.shutdown(socket.SHUT_WR)
        assert answer_of(client)[9:12] in (b"400", b"")
    assert cpu_s(program) - before < 1
    others_are_served(system)


def test_many_chunks_that_hold_something_are_taken(system: System) -> None:
    system.api()
    body = b'{"jobs": [' + b",".join([b'{"payload": "%d"}' % n for n in range(900)]) + b"]}"
    chunks = [body[at : at + 7] for at in range(0, len(body), 7)]
    answer = requests.post(
        f"{system.api_url}/jobs/batch", data=iter(chunks), headers={"Content-Type": "application/json"}, timeout=30
    )
    assert answer.status_code == 201


HEADS = {
    "a length and chunks": (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n", "goes without"),
    "chunks, then a length": (b"POST / HTTP/1.1\r\nTRANSFER-ENCODING: x\r\ncontent-length : 1\r\n", "goes without"),
    "chunks in 1.0": (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n", "belongs to HTTP/1.1"),
    "chunks twice": (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "once"),
    "chunks in a list": (b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n", "once"),
    "a second line": (b"GET / HTTP/1.1\r\nX: y\r\n z\r\n", "one line"),
    "no request line": (b"GET /\t/ x y HTTP/1.1\r\n", "request line"),
    "blanks": (b"GET / HTTP/1.1\r\nX:" + b" \t" * 64 + b"\r\n", "blanks"),
    "good": (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: Chunked\r\nX-Content-Length: 5\r\n", ""),
    "good without a version": (b"GET /\r\nContent-Length: 5\r\nContent-Length: 5\r\n", ""),
}


@pytest.mark.parametrize("head, why", HEADS.values(), ids=HEADS)
def test_a_head_is_judged_as_it_came(head: bytes, why: str) -> None:
    found = objection(head)
    assert why in found and bool(found) == bool(why)
