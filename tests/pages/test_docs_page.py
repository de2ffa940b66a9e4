"""The pages /docs and /redoc in a real browser: complete, quiet, and of some use."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from _jobqueue.keys import new_key
from tests.harness import System, eventually
from tests.pages.browser import Browser, browser

SHOWN = "document.querySelectorAll('article').length > 0"


@pytest.fixture(scope="module")
def tab() -> Iterator[Browser]:
    with browser() as opened:
        yield opened


def operations(system: System) -> dict[str, Any]:
    """By their ids."""
    paths = system.get("/openapi.json").json()["paths"]
    return {each["operationId"]: each for item in paths.values() for each in item.values()}


@pytest.mark.parametrize("page", ["/docs", "/redoc"])
def test_every_call_is_on_the_page_and_in_its_list(api: System, tab: Browser, page: str) -> None:
    tab.open(api.api_url + page, until=SHOWN)
    articles = tab.run("[...document.querySelectorAll('article')].map(each => [each.id, each.innerText])")
    assert sorted(name for name, _ in articles) == sorted(operations(api))
    for name, text in articles:
        assert operations(api)[name]["summary"] in text
    links = tab.run(
        "[...document.querySelectorAll('nav a[href^=\"#\"]')].map(each => each.getAttribute('href').slice(1))"
    )
    assert sorted(links) == sorted(operations(api))


@pytest.mark.parametrize("page", ["/docs", "/redoc"])
@pytest.mark.parametrize("width", [1300, 360])
def test_the_page_fits_its_window_and_the_browser_complains_of_nothing(
    api: System, tab: Browser, page: str, width: int
) -> None:
    tab.open(api.api_url + page, width, until="document.querySelector('main').innerText.length > 0")
    assert tab.run("document.documentElement.scrollWidth") <= width
    asked = tab.run("performance.getEntriesByType('resource').map(each => each.name)")
    assert asked and all(name.startswith(api.api_url) for name in asked)
    assert tab.complaints == []


def test_the_browser_lets_nothing_foreign_in(api: System, tab: Browser) -> None:
    """What a hostile text on the page could try: the policy is not only sent, it works."""
    tab.open(api.api_url + "/docs", until=SHOWN)
    tab.run("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.caught = 1\">')")
    tab.run("document.head.append(Object.assign(document.createElement('script'), {textContent: 'window.caught = 2'}))")
    assert tab.run("fetch('http://127.0.0.1:9/').then(() => 'sent', () => 'stopped')") == "stopped"
    eventually(lambda: sum("Content Security Policy" in text for text in tab.complaints), equals=lambda n: n >= 3)
    assert tab.run("window.caught") is None


def fill(tab: Browser, operation: str, body: Any = None, **values: str) -> None:
    for name, value in values.items():
        tab.run(f"document.querySelector('#{operation} input[name=\"{name}\"]').value = {json.dumps(value)}")
    if body is not None:
        tab.run(f"document.querySelector('#{operation} textarea').value = {json.dumps(json.dumps(body))}")
    tab.run(f"document.querySelector('#{operation} button').click()")


def answered(tab: Browser, operation: str, status: str) -> str:
    def text() -> str:
        return str(tab.run(f"document.querySelector('#{operation} .answer').innerText"))

    return str(eventually(text, equals=lambda shown: status in shown, within_s=30))


def test_a_job_is_submitted_and_looked_up_by_hand(api: System, tab: Browser) -> None:
    tab.open(api.api_url + "/docs", until=SHOWN)
    fill(tab, "submit", {"payload": "by <b>hand</b>"})
    job = json.loads(answered(tab, "submit", "201").partition("\n")[2])
    assert api.job(job["job_id"])["payload"] == "by <b>hand</b>"
    fill(tab, "get", job_id=job["job_id"])
    assert job["job_id"] in answered(tab, "get", "200")
    fill(tab, "get", job_id="no such?")
    assert "job_not_found" in answered(tab, "get", "404")


def test_the_pages_need_no_key_and_the_calls_get_the_one_that_is_typed_in(system: System, tab: Browser) -> None:
    key, entry = new_key("me", "submit")
    system.api(API_KEYS=entry)
    tab.open(system.api_url + "/docs", until=SHOWN)
    fill(tab, "submit", {"payload": 1})
    assert "no_key" in answered(tab, "submit", "401")
    tab.run(f"document.getElementById('key').value = {json.dumps(key)}")
    fill(tab, "submit", {"payload": 1})
    assert "job_id" in answered(tab, "submit", "201")
