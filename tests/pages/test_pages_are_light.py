"""What a first visit costs: bytes on the wire, round trips, and the time on a slow line, for the dashboard and the docs page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from _jobqueue.web.compression import STATIC
from tests.harness import System, eventually
from tests.pages.browser import Browser

SLOW = {"kbit_s": 1600, "latency_ms": 150}
AT_ONCE = 6  # requests that a browser sends to one host at once
# What somebody came for.
COUNTERS = "/^[\\d,]+$/.test(document.querySelector('.tile b')?.textContent.trim() ?? '')"
CHART = "document.querySelector('figure.chart svg') !== null"
CALLS = "document.querySelectorAll('article').length > 20"
WATCH = """new MutationObserver((_, observer) => {
    try {
        if (%s) {
            globalThis.shownAt = performance.now();
            observer.disconnect();
        }
    } catch {}
}).observe(document, {childList: true, subtree: true, characterData: true})"""
ASKED = """performance.getEntriesByType('resource').filter(each => each.startTime < globalThis.shownAt)
    .map(each => [new URL(each.name).pathname, each.startTime, each.responseEnd])"""


@dataclass
class Visit:
    shown_ms: float
    asked: list[tuple[str, float, float]]  # until then: address, when it was asked for, when all of it was there
    loads: list[tuple[str, int]]

    @property
    def bytes(self) -> int:
        return sum(size for _, size in self.loads)

    def __str__(self) -> str:
        return f"{self.bytes:,} bytes in {len(self.loads)} answers, {len(self.asked)} before it is shown, after {self.shown_ms:.0f} ms"


@pytest.fixture
def slowly(tab: Browser) -> Iterator[Browser]:
    tab.slow_down(**SLOW)
    yield tab
    tab.slow_down(0, 0)


def visit(tab: Browser, url: str, until: str, last: str = "true") -> Visit:
    """For the first time: nothing of the page is there yet. ``last``: what shows that all of it has come."""
    tab.call("Network.clearBrowserCache")
    tab.call("Page.navigate", url="about:blank")
    eventually(lambda: tab.run("location.href"), equals="about:blank")
    script: Any = tab.call("Page.addScriptToEvaluateOnNewDocument", source=WATCH % until)["identifier"]
    tab.loads.clear()
    tab.complaints.clear()  # of the page before
    tab.call("Page.navigate", url=url)
    shown = tab.see("globalThis.shownAt", bool)
    asked = [tuple(each) for each in tab.run(ASKED)]
    tab.see(last)
    eventually(lambda: sum("icon.svg" in address for address, _ in tab.loads), equals=1)  # it comes last
    loads = list(tab.loads)
    tab.call("Page.removeScriptToEvaluateOnNewDocument", identifier=script)
    return Visit(shown, asked, loads)


@pytest.mark.long(3)
def test_the_first_counters_come_early_on_a_slow_line(whole: System, slowly: Browser) -> None:
    """In three quarters of a second on a machine that has nothing else to do. Here the trips are counted, which do not depend on that."""
    whole.ends(whole.submit(1, type="noop"))
    seen = visit(slowly, f"{whole.api_url}/", COUNTERS, CHART)
    print(f"dashboard: {seen}")
    assert seen.bytes <= 60_000, seen.loads
    # What may be on its way too by then, on a busy machine.
    later = {"/static/icon.svg", *re.findall(r'"later" href="(.+)"', (STATIC / "index.html").read_text())}
    before = [path for path, _, _ in seen.asked if path not in later]
    assert len(before) <= 2 * AT_ONCE, before
    assert before.count("/stats") == before.count("/whoami") == 1, before
    assert seen.shown_ms < 10_000
    # The counters do not wait until all of the page is there.
    stats = next(began for path, began, _ in seen.asked if path == "/stats")
    assert stats < max(ended for path, _, ended in seen.asked if path.startswith("/static/")), seen.asked


def test_the_page_of_the_api_is_light_too(api: System, slowly: Browser) -> None:
    seen = visit(slowly, f"{api.api_url}/docs", CALLS)
    print(f"docs: {seen}")
    assert seen.bytes <= 60_000, seen.loads
    assert dict(seen.loads)[f"{api.api_url}/openapi.json"] <= 24_000  # of some 150,000
    assert len(seen.asked) <= 4 * AT_ONCE, seen.asked
    assert seen.shown_ms < 10_000
    opened = [began for path, began, _ in seen.asked if path == "/openapi.json"]
    assert len(opened) == 1 and opened[0] < min(ended for path, _, ended in seen.asked if path.endswith(".js"))
