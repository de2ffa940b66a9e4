"""Fixtures for the tests of HTTP."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.harness import System
from tests.http.talking import stored


@pytest.fixture
def nothing_stored(api: System) -> Iterator[None]:
    before = stored(api)
    yield
    assert stored(api) == before
