"""A browser, and a system to look at."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.harness import System
from tests.pages.browser import Browser, browser


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    with browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def browsing(chromium: Browser) -> Browser:
    """A tab of its own for a file: to start Chromium takes two seconds of a core."""
    chromium.begin()
    return chromium


@pytest.fixture
def tab(browsing: Browser) -> Iterator[Browser]:
    """A tab that keeps nothing of the test before, and in the end has nothing to complain of."""
    yield browsing
    assert browsing.complaints == []
    browsing.run("(sessionStorage.clear(), localStorage.clear())")


@pytest.fixture
def whole(system: System) -> System:
    """API, worker and reaper on an empty Redis."""
    system.api()
    system.worker("--threads", "2")
    system.reaper()
    return system
