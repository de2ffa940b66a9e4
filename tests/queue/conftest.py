"""Scripts that a test may change."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from _jobqueue.store.checker import Checker
from _jobqueue.store.scripts import Script
from tests.harness import Server
from tests.played import DAY_MS
from tests.queue.changed_scripts import copied


@pytest.fixture
def lua(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Server) -> Iterator[Path]:
    """The folder of a copy that is used instead. The checker, whose clock that of the copy is not, waits for nothing."""
    folder = copied(tmp_path)
    monkeypatch.setattr(Script, "folder", folder)
    monkeypatch.setattr(Checker, "AGAIN_S", 0)
    monkeypatch.setattr(Checker, "LATE_MS", 10 * DAY_MS)
    server.client.script_flush()
    yield folder
    server.client.script_flush()
