"""Fixtures for the tests of processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jobqueue import JobQueue
from tests.harness import Program, Server, System
from tests.processes.commanding import Run, runner
from tests.processes.working import Gate


@pytest.fixture
def odd(system: System) -> Callable[..., Program]:
    """Starts a worker with the handlers of tests/odd_handlers.py; waits until it is ready."""

    def start(*flags: str, **environment: str) -> Program:
        return system.worker("--handlers", "tests.odd_handlers", *flags, **{"BACKOFF_S": "0"} | environment)

    return start


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path / "gate")


@pytest.fixture(scope="module")
def shop(request: pytest.FixtureRequest) -> Iterator[System]:
    """API, worker and reaper; nobody works on any queue but ``served``."""
    server = Server()
    system = System(server)
    system.api()
    system.worker("--queues", "served", BACKOFF_S="0.05")
    system.reaper()
    yield system
    system.close(show_logs=request.session.testsfailed > 0)
    server.close()


@pytest.fixture
def redis_jobs(shop: System) -> JobQueue:
    return JobQueue(shop.url)


@pytest.fixture(params=["redis", "http"])
def run(request: pytest.FixtureRequest, shop: System, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command against either back end."""
    where = ("--redis-url", shop.url) if request.param == "redis" else ("--url", shop.api_url)
    return runner(capsys, *where)


@pytest.fixture
def anywhere(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command that says itself where."""
    return runner(capsys)
