"""A Redis that is too old is refused by its version, before anything is done with it."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator

import pytest

from _jobqueue.redis_version import release, too_old
from jobqueue import JobQueue, TooOld
from tests.harness import Server, System, free_port


class Old(socketserver.StreamRequestHandler):
    """Answers like the Redis of a version: it knows PING, CLIENT, INFO and CONFIG."""

    def handle(self) -> None:
        while header := self.rfile.readline():
            words = []
            for _ in range(int(header[1:])):
                self.rfile.readline()
                words.append(self.rfile.readline().strip().upper())
            self.wfile.write(self.answer(words[0]))

    def answer(self, command: bytes) -> bytes:
        version, _, bits = self.server.version.partition("/")  # type: ignore[attr-defined]
        told = f"redis_version:{version}\r\narch_bits:{bits or 64}\r\nrole:master\r\n".encode()
        known = {b"PING": b"+PONG\r\n", b"CLIENT": b"+OK\r\n", b"CONFIG": b"*0\r\n", b"SELECT": b"+OK\r\n"}
        known[b"INFO"] = b"$%d\r\n%b\r\n" % (len(told), told)
        return known.get(command, b"-ERR unknown command\r\n")


@pytest.fixture
def old(request: pytest.FixtureRequest) -> Iterator[str]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Old) as server:
        server.daemon_threads, server.version = True, getattr(request, "param", "6.0.16")  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"redis://127.0.0.1:{server.server_address[1]}/0"
        server.shutdown()


@pytest.mark.parametrize("program", ["api", "worker", "reaper"])
def test_a_redis_that_is_too_old_is_refused_by_its_version(server: Server, old: str, program: str) -> None:
    system = System(server, old)
    flags = ["--port", str(free_port())] if program == "api" else []
    try:
        refused = system.start(f"{program}.py", *flags)
        assert refused.exits() == 2
        assert f"{program}.py: this Redis cannot be used: it is 6.0.16, and 6.2 or newer is needed" in refused.log
    finally:
        system.close(show_logs=False)


def test_several_processes_end_together_when_redis_is_too_old(server: Server, old: str) -> None:
    system = System(server, old)
    try:
        assert system.start("worker.py", "--processes", "2").exits() == 2
    finally:
        system.close(show_logs=False)


@pytest.mark.parametrize("old", ["6.0.16", "5.0.14", "4.0.14"], indirect=True)
def test_jobqueue_names_the_version_that_is_too_old(old: str) -> None:
    with pytest.raises(TooOld, match=r"6\.2 or newer"):
        JobQueue(old).check_version()
    assert "cannot be used" in JobQueue(old).server()["warnings"][0].text


@pytest.mark.parametrize("old", ["6.2.0", "7.4.1", "8.0.0", "255.255.255"], indirect=True)
def test_newer_ones_pass(old: str) -> None:
    JobQueue(old).check_version()


@pytest.mark.parametrize("old", ["7.0.15/32"], indirect=True)
def test_one_of_32_bits_is_refused(old: str) -> None:
    with pytest.raises(TooOld, match=r"cannot be used: it is 7\.0\.15 of 32 bits, and one of 64 is needed"):
        JobQueue(old).check_version()


def test_every_primary_of_a_cluster_must_be_new_enough_and_one_may_not_tell() -> None:
    assert too_old("7.0.1, 6.0.3") == "it is 7.0.1, 6.0.3, and 6.2 or newer is needed"
    assert too_old(None) == too_old("6.2.0") == too_old("6.2.0, 7.0.1") == too_old("10.0") == ""
    assert release("Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.2.1 bits=64") == (7, 0)


def test_a_user_who_may_not_ask_for_the_version_passes(server: Server) -> None:
    server.client.execute_command("ACL", "SETUSER", "quiet", "on", ">pw", "~*", "&*", "+@all", "-info", "-config")
    try:
        JobQueue(server.url.replace("redis://", "redis://quiet:pw@")).check_version()
    finally:
        server.client.execute_command("ACL", "DELUSER", "quiet")
