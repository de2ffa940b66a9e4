"""The one page of the API, at /docs and at /redoc, in a real browser: complete, quiet, and of some use."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from _jobqueue.keys import new_key
from tests.harness import System, eventually
from tests.pages.browser import Browser
from tests.pages.dashboard import LIVE, STATIC

SHOWN = "document.querySelectorAll('article').length > 0"


def show(tab: Browser, system: System, page: str = "/docs", **how: Any) -> None:
    tab.open(system.api_url + page, until=SHOWN, **how)


def operations(system: System) -> dict[str, Any]:
    """By their ids."""
    paths = system.get("/openapi.json").json()["paths"]
    return {each["operationId"]: each for item in paths.values() for each in item.values()}


def unfold(tab: Browser, operation: str) -> None:
    tab.run(f"document.querySelector('#{operation} > details').open = true")
    tab.see(f"document.querySelector('#{operation} form') !== null")


def write(tab: Browser, selector: str, text: str) -> None:
    """As somebody types it, or chooses it from a list."""
    tab.see(f"document.querySelector({json.dumps(selector)}) !== null")
    tab.run(f"""(() => {{
        const element = document.querySelector({json.dumps(selector)});
        element.value = {json.dumps(text)};
        element.dispatchEvent(new Event('input', {{bubbles: true}}));
    }})()""")


def fill(tab: Browser, operation: str, body: Any = None, **values: str) -> None:
    unfold(tab, operation)
    for name, value in values.items():
        write(tab, f'#{operation} [name="{name}"]', value)
    if body is not None:
        write(tab, f'#{operation} [aria-label="The body as JSON"]', json.dumps(body))
    tab.run(f"document.querySelector('#{operation} .send').click()")


def answered(tab: Browser, operation: str, status: str) -> str:
    text = f"document.querySelector('#{operation} .answer').innerText"
    return str(tab.see(text, lambda shown: shown and status in shown, within_s=30))


def sample(tab: Browser, operation: str, name: str) -> str:
    unfold(tab, operation)
    tab.run(f"""[...document.querySelectorAll('#{operation} .tabs button')]
        .find(each => each.innerText === '{name}').click()""")
    return str(tab.see(f"document.querySelector('#{operation} pre[aria-label=\"Sample, {name}\"]').textContent", bool))


@pytest.mark.parametrize("page", ["/docs", pytest.param("/redoc", marks=pytest.mark.long(2))])
def test_every_call_is_on_the_page_and_in_its_list(api: System, tab: Browser, page: str) -> None:
    show(tab, api, page)
    articles = tab.run("[...document.querySelectorAll('article')].map(each => [each.id, each.innerText])")
    assert sorted(name for name, _ in articles) == sorted(operations(api))
    for name, text in articles:
        assert operations(api)[name]["summary"] in text
    links = tab.run(
        "[...document.querySelectorAll('nav a[href^=\"#\"]')].map(each => each.getAttribute('href').slice(1))"
    )
    assert sorted(links) == sorted(operations(api))
    tab.click("#docs-all button")
    tab.see("document.querySelectorAll('article form').length", len(articles))
    ids = tab.run("[...document.querySelectorAll('[id]')].map(each => each.id)")
    assert len(ids) == len(set(ids))


@pytest.mark.long(8)
@pytest.mark.parametrize("width", [1300, 360])
def test_the_page_fits_its_window_open_too_and_asks_nobody_else(api: System, tab: Browser, width: int) -> None:
    show(tab, api, width=width)
    assert tab.run("document.querySelectorAll('article > details[open]').length") == 0
    tab.click("#docs-all button")
    tab.see("document.querySelectorAll('article form').length", len(operations(api)))
    folds = "document.querySelectorAll('form details, .answers details:first-of-type')"
    tab.run(f"{folds}.forEach(each => each.open = true)")
    tab.see("document.querySelectorAll('details.inside[open] .field').length > 30")
    assert tab.run("document.documentElement.scrollWidth") <= width
    asked = tab.run("performance.getEntriesByType('resource').map(each => each.name)")
    assert asked and all(name.startswith(api.api_url) for name in asked)


def test_the_browser_lets_nothing_foreign_in(api: System, tab: Browser) -> None:
    """What a hostile text on the page could try: the policy is not only sent, it works."""
    show(tab, api)
    tab.run("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.caught = 1\">')")
    tab.run("document.head.append(Object.assign(document.createElement('script'), {textContent: 'window.caught = 2'}))")
    assert tab.run("fetch('http://127.0.0.1:9/').then(() => 'sent', () => 'stopped')") == "stopped"
    eventually(lambda: sum("Content Security Policy" in text for text in tab.complaints), equals=lambda n: n >= 3)
    assert tab.run("window.caught") is None
    tab.complaints.clear()


def test_a_job_is_submitted_and_looked_up_by_hand(api: System, tab: Browser) -> None:
    show(tab, api)
    fill(tab, "submit", {"payload": "by <b>hand</b>"})
    job = json.loads(answered(tab, "submit", "201").partition("\n")[2])
    assert api.job(job["job_id"])["payload"] == "by <b>hand</b>"
    fill(tab, "get", job_id=job["job_id"])
    assert job["job_id"] in answered(tab, "get", "200")
    fill(tab, "get", job_id="no such?")
    assert "job_not_found" in answered(tab, "get", "404")
    tab.complaints.clear()  # that there is none


def test_fields_and_the_json_of_a_body_follow_each_other(api: System, tab: Browser) -> None:
    show(tab, api, "/docs#submit")
    body = "JSON.parse(document.querySelector('#submit [aria-label=\"The body as JSON\"]').value)"
    first = tab.see(body, bool)
    write(tab, "#submit-body-max_attempts", "3")
    write(tab, "#submit-body-tags", "a, order:7")
    write(tab, "#submit-body-when", "ended")
    write(tab, "#submit-body-payload", '{"n": 12345678901234567890}')
    expected = first | {"max_attempts": 3, "tags": ["a", "order:7"], "when": "ended"}
    assert {**tab.run(body), "payload": 0} == {**expected, "payload": 0}
    assert '"n":12345678901234567890' in tab.run(
        "document.querySelector('#submit [aria-label=\"The body as JSON\"]').value.replaceAll(/\\s/g, '')"
    )
    write(tab, "#submit-body-max_attempts", "")
    assert "max_attempts" not in tab.run(body)
    write(tab, '#submit [aria-label="The body as JSON"]', '{"type": "echo", "timeout_s": 5')
    assert tab.run("document.querySelector('#submit [aria-invalid=true]') !== null")
    write(tab, '#submit [aria-label="The body as JSON"]', '{"type": "echo", "timeout_s": 5}')
    assert tab.run("document.querySelector('#submit-body-timeout_s').value") == "5"
    options = "[...document.querySelector('#submit-body-when').options].map(each => each.value)"
    assert tab.run(options) == ["", "done", "ended"]


def test_what_a_field_means_and_may_hold_stands_beside_it(api: System, tab: Browser) -> None:
    show(tab, api, "/docs#submit")
    line = "document.querySelector('#submit-body-jitter').closest('li').innerText"
    assert all(part in tab.see(line, bool) for part in ("jitter", "number", "0 to 1", "random"))
    unfold(tab, "submitBatch")
    inside = "document.querySelector('#submitBatch form details.inside')"
    assert tab.run(f"{inside}.querySelectorAll('li').length") == 0  # made when it is opened
    tab.run(f"{inside}.open = true")
    assert "backoff_s" in tab.see(f"{inside}.innerText", lambda text: "jitter" in text)
    unfold(tab, "get")
    tab.run("document.querySelector('#get .answers details').open = true")
    assert "max_attempts" in tab.see("document.querySelector('#get .answers').innerText", lambda text: "tags" in text)
    assert "404" in tab.run("document.querySelector('#get .answers').innerText")


def test_a_filter_finds_calls_by_what_they_take(api: System, tab: Browser) -> None:
    show(tab, api)
    visible = "[...document.querySelectorAll('article')].filter(each => !each.hidden).map(each => each.id)"
    tab.press("/")
    tab.write("max_backoff_s cron")
    tab.see(visible, ["putSchedule"])
    assert tab.run("document.querySelector('#docs-found').innerText").startswith("1 of ")
    assert tab.run("[...document.querySelectorAll('nav a')].filter(each => each.offsetHeight).length") == 1
    tab.press("Escape")
    tab.see(f"{visible}.length", len(operations(api)))
    tab.press("n", "o", "s", "u", "c", "h")
    tab.see("document.querySelector('#docs-found').innerText", lambda text: text.startswith("0 of "))
    tab.run("location.hash = '#cancel'")  # a link leads there all the same
    tab.see("document.querySelector('#cancel > details').open && document.querySelector('#cancel').offsetHeight > 99")
    assert tab.run("document.querySelector('nav [aria-current]').innerText").startswith("POST")


def test_the_page_shares_key_and_theme_with_the_dashboard(system: System, tab: Browser) -> None:
    key, entry = new_key("me", "admin")
    system.api(API_KEYS=entry)
    show(tab, system)
    fill(tab, "submit", {"payload": 1})
    assert "no_key" in answered(tab, "submit", "401")
    tab.complaints.clear()
    tab.run("document.getElementById('docs-key').focus()")
    tab.write(key)
    fill(tab, "submit", {"payload": 1})
    assert "job_id" in answered(tab, "submit", "201")
    assert "$JOBQUEUE_KEY" in sample(tab, "submit", "curl") and key not in sample(tab, "submit", "Python")
    tab.run("localStorage.setItem('jobqueue-theme', 'dark')")
    tab.click("header a[href='/']:not(.brand)")
    tab.see(LIVE)
    assert tab.run("document.querySelector('dialog')") is None
    show(tab, system, "/redoc")
    assert tab.run("[document.getElementById('docs-key').value, document.documentElement.dataset.theme]") == [
        key,
        "dark",
    ]


def test_what_docs_js_imports_is_asked_for_at_once() -> None:
    needed, left = {"docs.js"}, ["docs.js"]
    while left:
        imported = re.findall(r"from '\./(.+)';$", (STATIC / left.pop()).read_text(), re.MULTILINE)
        left += set(imported) - needed
        needed |= set(imported)
    page = (STATIC / "docs.html").read_text()
    assert sorted(re.findall(r'"modulepreload" href="/static/(.+)"', page)) == sorted(needed - {"docs.js"})
