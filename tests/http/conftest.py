"""Fixtures for the tests of HTTP."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.harness import Server, System
from tests.http.locks import KEYS
from tests.http.talking import stored


@pytest.fixture
def nothing_stored(api: System) -> Iterator[None]:
    before = stored(api)
    yield
    assert stored(api) == before


@pytest.fixture(scope="module")
def shared() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture(scope="module")
def locked(shared: Server, request: pytest.FixtureRequest) -> Iterator[System]:
    """An API with a key for each scope."""
    system = System(shared)
    system.api(API_KEYS=", ".join(entry for _, entry in KEYS.values()))
    yield system
    system.close(show_logs=request.session.testsfailed > 0)


@pytest.fixture(scope="module")
def plain(shared: Server, request: pytest.FixtureRequest) -> Iterator[System]:
    """An API with the default settings."""
    system = System(shared)
    system.api()
    yield system
    system.close(show_logs=request.session.testsfailed > 0)
