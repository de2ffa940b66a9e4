"""The dashboard in a real browser: its widths, its keys, who can read it, and what it weighs."""

from __future__ import annotations

import itertools
import re

import pytest

from _jobqueue.schedules import Schedule
from jobqueue import JobQueue
from tests.harness import System, eventually
from tests.pages.browser import Browser
from tests.pages.dashboard import (
    LIVE,
    ROWS,
    STATIC,
    TEXT,
    VIEWS,
    dead_letters,
    nothing_is_asked,
    says,
    show,
)
from tests.pages.screenshots import age

pytestmark = pytest.mark.long(5)


def test_everything_can_be_done_with_the_keyboard_alone(whole: System, tab: Browser) -> None:
    ids = dead_letters(whole, 5)
    show(tab, whole)
    tab.press("?")
    assert "next and previous row" in tab.see("document.querySelector('dialog').innerText", lambda text: text)
    tab.press("Escape")
    tab.see("document.querySelector('dialog') === null")
    tab.press("g", "j")
    tab.see(ROWS, 5)
    tab.press("j", "x", "j", "j", "X")
    tab.see("document.querySelector('.selection strong').innerText", "3 selected")
    tab.press("Escape")
    tab.see("document.querySelector('.selection') === null")
    tab.press("k", "Enter")
    opened = tab.see("location.hash.split('/')[2]", lambda hash: hash in ids)
    says(tab, "Attempt 1 failed")
    tab.press("r")
    eventually(lambda: whole.job(opened)["status"] != "failed")
    tab.press("Escape")
    tab.see("location.hash", "#/jobs")
    assert tab.see("document.activeElement.getAttribute('href')", f"#/jobs/{opened}")
    tab.press("/")
    tab.write(ids[0])
    tab.press("Enter")
    tab.see("location.hash", f"#/jobs/{ids[0]}")
    tab.press("g", "q")
    says(tab, "default", "Pause")


def test_one_poll_follows_the_other_and_a_hidden_page_asks_nothing(whole: System, tab: Browser) -> None:
    show(tab, whole)
    tab.run("(document.querySelector('#every').value = '1', document.querySelector('#every').onchange())")
    spans = "performance.getEntriesByType('resource').filter(each => each.name.endsWith('/stats')).map(each => [each.startTime, each.responseEnd])"
    polls = tab.see(spans, lambda found: len(found) >= 4)
    assert all(later[0] >= earlier[1] for earlier, later in itertools.pairwise(polls))
    hide = "(Object.defineProperty(document, 'hidden', {value: %s, configurable: true}), document.dispatchEvent(new Event('visibilitychange')))"
    tab.run(hide % "true")
    nothing_is_asked(tab)
    polls = len(tab.run(spans))
    tab.run(hide % "false")
    tab.see(spans, lambda found: len(found) > polls)
    tab.run("(document.querySelector('#every').value = '0', document.querySelector('#every').onchange())")
    tab.see("document.querySelector('#pulse').textContent", lambda text: text.startswith("data "))
    nothing_is_asked(tab)


def test_the_minutes_can_be_read_with_the_arrow_keys_and_from_a_table(whole: System, tab: Browser) -> None:
    whole.ends(whole.submit(1, type="noop"))
    show(tab, whole)
    tab.see("document.querySelectorAll('figure').length", 1)
    tab.run("document.querySelector('figure svg').focus()")
    tab.press("ArrowLeft")
    tip = tab.see("document.querySelector('.tip').innerText", lambda text: "done" in str(text))
    assert re.match(r"\d\d:\d\d", tip)
    assert tab.run("document.querySelectorAll('figure table tbody tr').length") == 60
    tab.see(
        "[...document.querySelectorAll('figure:first-of-type td:nth-child(2)')].some(each => each.innerText === '1')"
    )


def test_times_say_their_zone(whole: System, tab: Browser) -> None:
    job_id = whole.submit(1, type="noop")
    whole.ends(job_id)
    tab.call("Emulation.setTimezoneOverride", timezoneId="Asia/Kathmandu")
    show(tab, whole, f"jobs/{job_id}")
    says(tab, "Attempt 1 done")
    titles = tab.run(
        "[...document.querySelectorAll('main time'), document.querySelector('#pulse')].map(each => each.title)"
    )
    assert len(titles) > 2 and all("GMT+5:45" in title for title in titles), titles
    tab.call("Emulation.setTimezoneOverride", timezoneId="")


def test_a_wide_screen_is_used_up_to_1680_pixels(whole: System, tab: Browser) -> None:
    whole.ends(whole.submit(1, type="noop"))
    show(tab, whole, width=2560)
    says(tab, "default")
    box = tab.run("document.querySelector('.page').getBoundingClientRect().toJSON()")
    assert box["width"] == 1680 and abs(box["left"] - 208 - (2560 - box["right"])) < 20
    assert tab.run("document.querySelector('.tiles').getBoundingClientRect().width") > 1600


@pytest.fixture(scope="module")
def lively(api: System) -> System:
    """Something of everything, for all views."""
    api.worker("--threads", "2", SIMULATED_WORK_S="30")
    api.reaper()
    api.submit({"long": "x" * 500, "word": "y" * 300}, type="echo", tags=["a-tag-of-some-length"] * 1)
    api.submit(1, type="a.type.with-a-very-long-name.that_does_not_end", queue="another-queue-with-a-long-name")
    api.submit(2, delay_s=1000, priority=9)
    dead_letters(api, 3, "SomethingWentWrongSomewhereError")
    api.post("/queues/another-queue-with-a-long-name/pause")
    weekly = Schedule.of_json({"every_s": 604800, "type": "a.type.with-a-very-long-name.that_does_not_end"})
    JobQueue(api.url).schedules.put("another-queue-with-a-long-name", "a-schedule-with-a-long-name.too", weekly)
    api.post("/queues/another-queue-with-a-long-name/schedules/a-schedule-with-a-long-name.too/run")
    JobQueue(api.url).schedules.put("default", "paused", weekly)
    api.post("/queues/default/schedules/paused/pause")
    return api


def pages(system: System) -> list[str]:
    jobs = system.get("/jobs").json()["jobs"]
    return [*VIEWS, *sorted({job["status"]: f"jobs/{job['job_id']}" for job in jobs}.values()), "jobs/none"]


HUGE = """(() => {
    for (const each of document.querySelectorAll('.tile b')) each.lastChild.data = '123,456';
    for (const each of document.querySelectorAll('.cards td.n > div')) {
        for (const text of [each, ...each.querySelectorAll('*')].map(one => one.firstChild).filter(one => one?.nodeType === 3)) {
            text.data = text.data.replace(/^\\d+(\\.\\d)?$/, '123,456').replace(/^\\d+ \\/ \\d+$/, '123,456 / 123,456');
        }
    }
})()"""
BEYOND = """[...document.querySelectorAll('main *')].filter(each => {
    const {right, width} = each.getBoundingClientRect();
    return width > 1 && right > document.documentElement.clientWidth && !each.closest('.what, .detail, pre, .unseen');
}).map(each => each.outerHTML.slice(0, 150))"""
CUT = """[...document.querySelectorAll('.tile, .tiles, .panel:has(> table)')].filter(each => each.scrollWidth > each.clientWidth).map(each => each.className)"""


@pytest.mark.parametrize("width", [361, 761, 800, 847, 870, 1010, 1024, 1099, 1100, 1300])
def test_nothing_is_cut_off_at_any_width(lively: System, tab: Browser, width: int) -> None:
    """Also with numbers of six digits."""
    for view in pages(lively):
        show(tab, lively, view, width=width)
        tab.see(f"{TEXT}.length > 20")
        wide, beyond, cut = tab.run(f"({HUGE}, [document.documentElement.scrollWidth, {BEYOND}, {CUT}])")
        assert (wide <= width, beyond, cut) == (True, [], []), view
    tab.complaints.clear()  # that there is no job named none


@pytest.mark.parametrize("width", [360, 800, 1024, 1300])
def test_names_of_kinds_are_broken_between_words_only(system: System, tab: Browser, width: int) -> None:
    system.api()
    kinds = ["SMTPAuthenticationError", "IntegrityError", "psycopg.errors.UniqueViolation", "A" * 64]
    for kind in kinds:
        dead_letters(system, 1, kind)
    show(tab, system, "dead", width=width)
    tab.see(ROWS, len(kinds))
    assert sorted(tab.run("[...document.querySelectorAll('td strong')].map(each => each.textContent)")) == sorted(kinds)
    pieces = """[...document.querySelectorAll('td strong')].flatMap(each => [...each.childNodes]).filter(each => each.data).map(each => {
        const range = new Range();
        range.selectNode(each);
        return [each.data, range.getClientRects().length];
    })"""
    found = dict(tab.run(pieces))
    assert {
        "SMTP",
        "Authentication",
        "Error",
        "Integrity",
        "psycopg.",
        "errors.",
        "Unique",
        "Violation",
    } <= found.keys()
    assert [piece for piece, lines in found.items() if lines > 1 and len(piece) < 64] == []
    if width >= 1024:
        assert (
            tab.run("document.querySelector('tr[data-key=SMTPAuthenticationError] strong').getClientRects().length")
            == 1
        )
        assert tab.run("document.querySelector('tr[data-key=SMTPAuthenticationError] strong').offsetHeight") < 30


OVERLAPPING = """[...document.querySelectorAll('td[data-label] button')].filter(each =>
    each.getBoundingClientRect().left < each.closest('td > div').getBoundingClientRect().left - 1
).map(each => each.ariaLabel)"""
BROKEN = "[...document.querySelectorAll('.length')].filter(each => each.getClientRects().length > 1).map(each => each.innerText)"


@pytest.mark.parametrize("width", [360, 1300])
def test_buttons_stay_in_their_cells_and_times_on_one_line(lively: System, tab: Browser, width: int) -> None:
    for view in ("schedules", "types", "queues", "system"):
        show(tab, lively, view, width=width)
        tab.see(ROWS, lambda n: n > 0)
        assert tab.run(f"[{OVERLAPPING}, {BROKEN}]") == [[], []], view


def test_every_view_fits_a_phone(lively: System, tab: Browser) -> None:
    for view in pages(lively):
        show(tab, lively, view, width=360)
        tab.see(f"{TEXT}.length > 20")
        assert tab.run("document.documentElement.scrollWidth") <= 360, view
        here = tab.run("document.querySelector('nav [aria-current]').getBoundingClientRect().toJSON()")
        assert here["left"] >= 0 and here["right"] <= 360, view
    tab.complaints.clear()  # that there is no job named none


def test_a_first_visit_costs_60_kb_a_later_one_almost_nothing_and_a_poll_5_kb(api: System, tab: Browser) -> None:
    """On the wire, headers included, of a system in use: six queues, two workers, findings, an hour of minutes."""
    api.worker("--queues", "default=2,email=2")
    api.worker("--queues", "default=1")
    api.reaper()
    for n in range(60):
        api.submit({"order": n}, type="noop", queue="email" if n % 2 else "default", tags=["shop"])
        api.submit({"row": n}, type="import", queue=f"imports-{n % 3}")
    dead_letters(api, 60)
    eventually(lambda: api.get("/jobs?status=done").json()["total"], equals=lambda n: n >= 60)
    age(api)
    tab.call("Network.clearBrowserCache")
    tab.open("about:blank")  # what the page before has asked for comes no more
    tab.loads.clear()
    show(tab, api)
    says(tab, "imports-2", "by minute")
    first = list(tab.loads)
    assert all(address.startswith(api.api_url) for address, _ in first)
    assert len(first) == len(set(first)) > 15
    assert sum(size for _, size in first) <= 60_000, first
    tab.loads.clear()
    tab.call("Page.reload")
    tab.see(LIVE)
    assert sum(size for address, size in tab.loads if not address.endswith("/stats")) <= 15_000, tab.loads
    tab.run("localStorage.setItem('jobqueue-every', '1')")
    for view in VIEWS:
        show(tab, api, view)
        tab.loads.clear()
        tab.see("performance.getEntriesByType('resource').filter(each => each.name.endsWith('/stats')).length > 2")
        sizes = dict(tab.loads)
        assert sizes[f"{api.api_url}/stats"] and max(sizes.values()) <= 5_000, sizes


def test_theme_and_refresh_rate_follow_to_other_tabs(api: System, tab: Browser) -> None:
    show(tab, api)
    shown = "[document.documentElement.dataset.theme, document.querySelector('#theme').innerText, document.querySelector('#every').value]"
    assert tab.run(shown) == ["auto", "Theme: auto", "2"]
    chosen = "localStorage.setItem('jobqueue-theme', 'dark'), localStorage.setItem('jobqueue-every', '10')"
    tab.in_another_tab(f"{api.api_url}/static/icon.svg", chosen)
    tab.see(shown, ["dark", "Theme: dark", "10"])
    tab.in_another_tab(f"{api.api_url}/static/icon.svg", "localStorage.clear()")
    tab.see(shown, ["auto", "Theme: auto", "2"])


@pytest.mark.parametrize("width", [360, 480, 560, 800, 900, 1000, 1110, 1300])
def test_no_counter_stands_alone_in_its_row(api: System, tab: Browser, width: int) -> None:
    show(tab, api, width=width)
    tops = tab.see(
        "[...document.querySelectorAll('a.tile')].map(each => Math.round(each.offsetTop))", lambda n: len(n) == 7
    )
    rows = [tops.count(top) for top in sorted(set(tops))]
    assert rows in ([7], [4, 3], [2, 2, 3]), rows


def imports_of(*modules: str) -> set[str]:
    """These, and what they import, directly or not."""
    needed, left = set(modules), list(modules)
    while left:
        imported = re.findall(r"from '\./(.+)';$", (STATIC / left.pop()).read_text(), re.MULTILINE)
        left += set(imported) - needed
        needed |= set(imported)
    return needed


def test_all_that_the_page_imports_is_asked_for_at_once() -> None:
    """First what the counters need, then what stands below them."""
    page = (STATIC / "index.html").read_text()
    first, later = imports_of("dashboard.js"), imports_of("centre.js", "keys.js", "dialogs.js")
    assert sorted(re.findall(r'"modulepreload" href="/static/(.+)"', page)) == sorted(
        first - {"dashboard.js", "api.js"}
    )
    assert sorted(re.findall(r'"later" href="/static/(.+)"', page)) == sorted(later - first)
