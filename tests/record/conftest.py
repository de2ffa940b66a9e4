"""Each test on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from _jobqueue.record.database import Record, open_record
from jobqueue import JobQueue
from tests import postgres
from tests.postgres import Postgres


@pytest.fixture
def queue(url: str) -> JobQueue:
    jobs = JobQueue(url)
    jobs.register("default")
    return jobs


@pytest.fixture(scope="session")
def shared_postgres() -> Iterator[Postgres]:
    server = Postgres()
    yield server
    server.close()


@pytest.fixture
def own_postgres() -> Iterator[Postgres]:
    """One for a test that stops or freezes it."""
    postgres.needed()
    server = Postgres()
    yield server
    server.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def history_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where an empty database is."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'history.db'}"
    postgres.needed()
    server: Postgres = request.getfixturevalue("shared_postgres")
    server.empty()
    return server.url


@pytest.fixture
def record(history_url: str) -> Iterator[Record]:
    """A record with its tables, for writing."""
    record = open_record(history_url)
    record.migrate()
    yield record
    record.close()


@pytest.fixture
def reader(record: Record, history_url: str) -> Iterator[Record]:
    """The same, as the API opens it."""
    reader = open_record(history_url, read_only=True)
    yield reader
    reader.close()
