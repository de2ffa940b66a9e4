"""An API of several processes."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.guard import children, lives
from tests.harness import Program, System, eventually, free_port
from tests.http.locks import JOB, everything
from tests.http.talking import connect, head
from tests.http.test_rate_limit import flood


def sockets(pid: int) -> int:
    links = [os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()]
    return sum(link.startswith("socket:") for link in links)


@pytest.fixture
def group(system: System) -> Iterator[Program]:
    """An API of two processes."""
    port = free_port()
    system.api_url = f"http://127.0.0.1:{port}"
    program = system.start("api.py", "--port", str(port), "--processes", "2")
    seen = set[int]()
    try:
        eventually(lambda: program.log.count("listening"), equals=2, within_s=30)
        seen |= set(children(program.pid))
        yield program
        seen |= set(children(program.pid)) if lives(program.pid) else set()
    finally:
        for pid in seen:  # they are in sessions of their own: the harness would not find them
            if lives(pid):
                os.kill(pid, signal.SIGKILL)


def test_two_processes_share_a_port(system: System, group: Program) -> None:
    one, other = children(group.pid)
    before = {pid: sockets(pid) for pid in (one, other)}
    clients = [connect(system) for _ in range(40)]
    eventually(lambda: min(sockets(pid) - before[pid] for pid in (one, other)), equals=lambda more: more >= 5)
    for client in clients:
        client.sendall(head("GET /livez HTTP/1.1"))
        assert everything(client).startswith(b"HTTP/1.1 200")
        client.close()
    assert len({system.submit(n) for n in range(20)}) == 20


def test_a_process_that_dies_is_replaced(system: System, group: Program) -> None:
    victim, survivor = children(group.pid)
    os.kill(victim, signal.SIGKILL)
    eventually(lambda: group.log.count("listening"), equals=3, within_s=30)
    group.says("a process ended; starting another")
    now = children(group.pid)
    assert len(now) == 2 and survivor in now and victim not in now
    assert all(system.post("/jobs", JOB).status_code == 201 for _ in range(10))


def test_all_processes_stop_when_they_are_told_to(group: Program) -> None:
    pids = children(group.pid)
    assert group.stop(within_s=30) == 0
    assert not any(map(lives, pids)) and group.log.count("stopped") == 2 and "Traceback" not in group.log


def test_processes_end_when_their_parent_was_killed(system: System, group: Program) -> None:
    pids = children(group.pid)
    os.kill(group.pid, signal.SIGKILL)
    eventually(lambda: [pid for pid in pids if lives(pid)], equals=[], within_s=30)
    with pytest.raises(requests.ConnectionError):
        system.get("/livez")


def test_a_stranger_cannot_join_the_port_by_mistake(system: System, group: Program) -> None:
    second = system.start("api.py", "--port", system.api_url.rpartition(":")[2])
    assert second.exits() == 1 and "cannot listen on 127.0.0.1" in second.log


def test_processes_that_cannot_listen_give_up(system: System) -> None:
    system.api()
    port = system.api_url.rpartition(":")[2]
    program = system.start("api.py", "--port", port, "--processes", "2")
    assert program.exits(30) == 2
    assert "Address already in use" in program.log and "starting another" not in program.log


def test_processes_share_one_count(system: System) -> None:
    """The limit holds for the port, not for each process behind it."""
    port = free_port()
    system.api_url = f"http://127.0.0.1:{port}"
    program = system.start("api.py", "--port", str(port), API_PROCESSES="2", RATE_LIMIT_MAX="10")
    eventually(lambda: program.log.count("listening"), equals=2, within_s=30)
    found = flood([system.api_url], clients=20, each=2)
    assert (found.count(201), found.count(429)) == (10, 30)
    assert program.stop(30) == 0
