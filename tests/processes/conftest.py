"""Fixtures for the tests of processes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness import Program, System
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
