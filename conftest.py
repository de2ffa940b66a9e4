"""Fixtures for all tests, which of them run, and in which order. No test touches a Redis that it did not start.

``make test`` leaves out what is marked ``long(seconds)``; ``--sample-seconds`` takes a random part of it."""

from __future__ import annotations

import random
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


# ------------------------------------------------------------------------------------------------------- which tests

# Quick files come first; these come last, the slowest of them first, so that they all end at about the same time.
SLOW = ("test_worker", "test_model", "test_openapi", "test_dashboard", "test_e2e", "test_run", "test_security")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("jobqueue")
    group.addoption(
        "--sample-seconds", type=float, metavar="S", help="of the tests marked long, run some that take S in all"
    )
    group.addoption("--sample-seed", type=int, metavar="N", help="which of them (default: others each time)")


def pytest_configure(config: pytest.Config) -> None:
    if config.option.sample_seconds is not None and config.option.sample_seed is None:
        config.option.sample_seed = random.randrange(10**6)  # here, so that all processes choose the same


def pytest_report_header(config: pytest.Config) -> str | None:
    if config.option.sample_seconds is None:
        return None
    return f"long tests: --sample-seconds {config.option.sample_seconds:g} --sample-seed {config.option.sample_seed}"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.option.sample_seconds is not None:
        chosen = _sample(items, config.option.sample_seconds, config.option.sample_seed)
        config.hook.pytest_deselected(items=[item for item in items if item.nodeid not in chosen])
        items[:] = [item for item in items if item.nodeid in chosen]
    items.sort(key=lambda item: SLOW.index(item.path.stem) + 1 if item.path.stem in SLOW else 0)


def _seconds(item: pytest.Item) -> float:
    mark = item.get_closest_marker("long")
    return float(mark.args[0]) if mark else 0.0


def _sample(items: list[pytest.Item], seconds: float, seed: int) -> set[str]:
    """What is not long, and of the rest whatever still fits, in a random order."""
    chosen, left = set[str](), seconds
    by_chance = sorted(items, key=lambda item: item.nodeid)
    random.Random(seed).shuffle(by_chance)
    for item in by_chance:
        if _seconds(item) <= left:
            chosen.add(item.nodeid)
            left -= _seconds(item)
    return chosen


# ---------------------------------------------------------------------------------------------------------- fixtures


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
