"""Fixtures for the tests of steps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.forge import forging
from tests.faults.scene import (
    Stage,
)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with forging("--databases", "400") as (server, forge, ledger):
        yield Stage(server, forge, ledger, tmp_path)
