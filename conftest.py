"""Fixtures for all tests. No test touches a Redis that it did not start."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from jobqueue import JobQueue
from tests.faults.proxy import Proxy, Rule
from tests.harness import Server, System
from tests.played import Worker
from tests.talker import Talker

pytest_plugins = ["tests.which"]


def pytest_configure(config: pytest.Config) -> None:
    """Under nohup the programs of a test would be deaf to a hang-up too: who has a handler does not hand it on."""
    here = hasattr(config, "workerinput") or not config.getoption("numprocesses", None)
    if here and signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: None)


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
    """A Redis for one test, which may kill it. With everysec it may keep a write to itself while the disk is busy, and lose it."""
    server = Server("--appendfsync", "always")
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
        talker.close()


@pytest.fixture(scope="module")
def api(request: pytest.FixtureRequest) -> Iterator[System]:
    """One API, for all tests of a file that do not mind what the others left."""
    server = Server()
    system = System(server)
    system.api()
    yield system
    system.close(show_logs=request.session.testsfailed > 0)
    server.close()


# ------------------------------------------------------------------------------------------------ what a test plays


@pytest.fixture
def in_the_end_all_is_well(queue: JobQueue) -> Iterator[None]:
    """Every invariant must hold, and the books must balance."""
    yield
    for name in ("default", *queue.queues()):
        assert queue.check(name) == []


@pytest.fixture
def worker(queue: JobQueue) -> Worker:
    """A worker of one thread, played."""
    return Worker(queue)


@pytest.fixture
def other(queue: JobQueue) -> Worker:
    return Worker(queue, "other")


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    """A network between a queue and Redis that can lose a message."""
    proxy = Proxy(server.port)
    yield proxy
    proxy.close()


@pytest.fixture
def through(proxy: Proxy) -> Callable[[Rule], JobQueue]:
    """A queue behind the proxy, with its rule."""

    def behind(rule: Rule) -> JobQueue:
        proxy.rule = rule
        return JobQueue(proxy.url)

    return behind


@pytest.fixture
def jobs(request: pytest.FixtureRequest, queue: JobQueue, in_the_end_all_is_well: None) -> JobQueue:
    """A queue; with an API, where the test has a system."""
    if "system" in request.fixturenames:
        request.getfixturevalue("system").api()
    return queue


@pytest.fixture
def hand(jobs: JobQueue) -> Worker:
    """A worker of one thread, played, beside what else runs."""
    return Worker(jobs, lease_ms=60_000)


@pytest.fixture(scope="module")
def bystander(shared_server: Server) -> Iterator[System]:
    """An API for tests that store nothing."""
    system = System(shared_server)
    system.api()
    yield system
    system.close(show_logs=False)
