"""Fixtures for all tests. No test touches a Redis that it did not start."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from jobqueue import JobQueue
from tests.harness import Server, System
from tests.talker import Talker


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    report = yield
    if report.when == "call":
        item.stash[_FAILED] = report.failed
    return report


_FAILED = pytest.StashKey[bool]()


@pytest.fixture(scope="session")
def shared_server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def server(shared_server: Server) -> Server:
    """A Redis that is empty; do not stop it."""
    shared_server.client.flushall()
    return shared_server


@pytest.fixture
def own_server() -> Iterator[Server]:
    """A Redis for one test, which may kill it."""
    server = Server()
    yield server
    server.close()


@pytest.fixture
def url(server: Server) -> str:
    """Where JobQueue and the programs find Redis."""
    return server.url


@pytest.fixture
def queue(url: str) -> JobQueue:
    return JobQueue(url)


def _system(server: Server, url: str, request: pytest.FixtureRequest) -> Iterator[System]:
    system = System(server, url)
    yield system
    system.close(show_logs=request.node.stash.get(_FAILED, False))


@pytest.fixture
def system(server: Server, url: str, request: pytest.FixtureRequest) -> Iterator[System]:
    """The project's programs on an empty Redis."""
    yield from _system(server, url, request)


@pytest.fixture
def own_system(own_server: Server, request: pytest.FixtureRequest) -> Iterator[System]:
    """The project's programs on a Redis that the test may kill: ``own_system.server``."""
    yield from _system(own_server, own_server.url, request)


@pytest.fixture
def talk(system: System) -> Iterator[Callable[..., Talker]]:
    talkers: list[Talker] = []

    def start(*command: str, to: int | None, **more: Any) -> Talker:
        talkers.append(Talker(system, *command, to=to, **more))
        return talkers[-1]

    yield start
    for talker in talkers:
        talker.process.kill()
        talker.process.wait()


@pytest.fixture(scope="module")
def api(request: pytest.FixtureRequest) -> Iterator[System]:
    """One API, for all tests of a file that do not mind what the others left."""
    server = Server()
    system = System(server)
    system.api()
    yield system
    system.close(show_logs=request.session.testsfailed > 0)
    server.close()
