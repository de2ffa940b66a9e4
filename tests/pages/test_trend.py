"""The chart in the centre of Overview, and the view of types: what grows, since when, and whether it will drain."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest

from jobqueue import JobQueue, NewJob
from tests.harness import System, eventually
from tests.http.overviews import past
from tests.pages.browser import Browser
from tests.pages.dashboard import LIVE, ROWS, dead_letters, polled_twice, says, show
from tests.played import Worker, now_ms

TITLE = "document.querySelector('.trend h2').innerText"
TABLE = "[...document.querySelectorAll('figure tbody tr')].map(row => [...row.cells].map(cell => cell.innerText || cell.textContent))"
PLOT = "document.querySelector('figure svg')"
TIP = "document.querySelector('.tip').innerText"
HASH = "location.hash"


def minute(system: System) -> int:
    return now_ms(system.server) // 60_000


def clock(system: System, ago: int) -> str:
    """The time of a minute, as the page writes it."""
    return time.strftime("%H:%M", time.localtime((minute(system) - ago) * 60))


def counted(system: System, ago: int, queue: str, job_type: str, **counts: int) -> None:
    rows = {job_type: json.dumps(counts)}
    system.server.client.hset(f"jq:{{{queue}}}:by_type:{minute(system) - ago}", mapping=rows)


def shift(tab: Browser, key: str) -> None:
    code = {"ArrowLeft": 37, "ArrowRight": 39}[key]
    for kind in ("rawKeyDown", "keyUp"):
        tab.call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, modifiers=8)


def drag(tab: Browser, from_row: int, to_row: int, rows: int) -> None:
    """With the mouse over the chart, once nothing beside it moves it any more."""
    seen: list[dict[str, float]] = [{}]

    def stands_still() -> bool:
        seen.append(tab.run(f"({PLOT}.scrollIntoView({{block: 'center'}}), {PLOT}.getBoundingClientRect().toJSON())"))
        return seen[-1] == seen[-2]

    eventually(stands_still)
    box = seen[-1]
    step = (box["width"] - 88) / rows
    at = [
        {"x": box["x"] + 44 + (row + 0.5) * step, "y": box["y"] + 100, "button": "left"} for row in (from_row, to_row)
    ]
    tab.call("Input.dispatchMouseEvent", type="mousePressed", clickCount=1, **at[0])
    tab.call("Input.dispatchMouseEvent", type="mouseMoved", buttons=1, **at[1])
    tab.call("Input.dispatchMouseEvent", type="mouseReleased", clickCount=1, **at[1])


@pytest.fixture
def growing(system: System) -> System:
    """Of two types one comes faster than it is done, since ten minutes ago."""
    system.api()
    jobs = JobQueue(system.url)
    worker = Worker(jobs, "mail").handles("mail")
    jobs.submit_many([NewJob("image")] * 300 + [NewJob("mail")] * 4)
    for ago in range(40, 0, -1):
        waiting = 0 if ago > 10 else 30 * (10 - ago)
        past(system.server, ago, submitted=60, done=60, waiting=waiting)
        counted(system, ago, "default", "mail", done=60, submitted=60, waiting=0)
    worker.beat()
    return system


@pytest.mark.long(2)
def test_a_queue_that_grows_says_which_type_since_when_and_that_it_does_not_drain(
    growing: System, tab: Browser
) -> None:
    since = [clock(growing, ago) for ago in (10, 9, 8)]  # the next minute may begin meanwhile
    show(tab, growing)
    title = tab.see(TITLE, lambda text: "grows by" in str(text))
    assert re.match(r"In [\d,.]+, out [\d,.]+ a minute: grows by [\d,.]+ a minute$", title)
    told = tab.run("document.querySelector('.story').innerText")
    found = re.match(r"30\d wait; it has grown since (\d\d:\d\d), most by image \(\+[\d,.]+ a minute\)", told)
    assert found and found[1] in since and told.endswith("At this pace it does not drain.")
    tab.click(".story a")
    assert "in ≈" in tab.see(TITLE, lambda text: str(text).startswith("image in default"))
    assert tab.run(HASH) == "#/?queue=default&type=image"


def test_what_drains_says_how_long_it_takes(system: System, tab: Browser) -> None:
    system.api()
    JobQueue(system.url).submit_many([NewJob("mail")] * 30)
    system.server.client.delete(*system.server.client.keys("jq:{default}:stats:*"))
    past(system.server, 0, done=60)
    show(tab, system)
    tab.see(
        TITLE, lambda text: re.match(r"In [\d,.]+, out [\d,.]+ a minute: 30 wait, drained in (29|3\d) s$", str(text))
    )


def test_a_chart_is_that_of_a_queue_or_a_type_and_the_address_keeps_it(growing: System, tab: Browser) -> None:
    JobQueue(growing.url).submit_many([NewJob("report", queue="shop")] * 7)
    show(tab, growing)
    choose = "(select => { select.value = %s; select.dispatchEvent(new Event('change')) })(document.querySelector('select[name=%s]'))"
    tab.see("document.querySelectorAll('select[name=queue] option').length", 3)
    tab.run(choose % ("'shop'", "queue"))
    tab.see(TITLE, lambda text: re.match(r"shop: in [67]", str(text)))
    tab.see("document.querySelectorAll('select[name=type] option').length", 2)
    tab.see(f"{TABLE}.map(row => row[1]).filter(text => text !== '0')", ["7"])
    tab.run(choose % ("'All queues'", "queue"))
    tab.run(choose % ("'mail'", "type"))
    tab.see(f"{TABLE}.filter(row => row[2] === '60').length", lambda n: n >= 39)
    tab.call("Page.reload")
    tab.see(f"{LIVE} && document.querySelector('select[name=type]').value", "mail")
    assert tab.run(HASH) == "#/?type=mail"
    tab.run("history.back()")
    tab.see("document.querySelector('select[name=type]').selectedIndex", 0)


def test_a_part_is_chosen_by_dragging_and_leads_to_its_jobs(system: System, tab: Browser) -> None:
    system.api()
    ids = dead_letters(system, 5)
    ago_ms = 20 * 60_000
    then = minute(system) * 60_000 - ago_ms
    system.server.client.zadd("jq:{mail}:failed", dict.fromkeys(ids[:2], then))
    past(system.server, 20, "mail", failed=2, submitted=2)
    show(tab, system)
    tab.see(f"{TABLE}.length", 60)
    drag(tab, 33, 45, 60)
    tab.see(f"{TABLE}.length", 13)
    assert re.match(r"#/\?since=.+&until=.+", tab.run(HASH))
    says(tab, "2 came", "2 failed", "Show all of the hour")
    tab.run("[...document.querySelectorAll('p.part a')].find(each => each.innerText === '2 failed').click()")
    tab.see(ROWS, 2)
    assert set(tab.run("[...document.querySelectorAll('tr[data-key]')].map(each => each.dataset.key)")) == set(ids[:2])
    assert tab.run(HASH).startswith("#/jobs?status=failed&since=")
    tab.run("history.back()")
    tab.see(f"{TABLE}.length", 13)
    eventually(lambda: (tab.press("Escape"), tab.run(f"{TABLE}.length"))[1], equals=60)  # the first may leave a field


@pytest.mark.long(7)
def test_a_chart_that_was_drawn_again_keeps_its_rows(system: System, tab: Browser) -> None:
    system.api()
    system.submit()
    show(tab, system)
    tab.see(f"{TABLE}.length", 60)
    drag(tab, 33, 45, 60)
    tab.see(f"{TABLE}.length", 13)
    tab.run("location.hash = '#/'")
    tab.see(f"{TABLE}.length", 60)
    polled_twice(tab)
    assert tab.run(f"{TABLE}.length") == 60


def test_a_part_is_chosen_by_keyboard(system: System, tab: Browser) -> None:
    system.api()
    system.submit()
    show(tab, system)
    tab.see(f"{TABLE}.length", 60)
    tab.run(f"{PLOT}.focus()")
    tab.press("ArrowLeft", "ArrowLeft", "ArrowLeft")
    for _ in range(4):
        shift(tab, "ArrowLeft")
    assert tab.run("Number(document.querySelector('rect.part').getAttribute('width'))") > 0
    tab.press("Enter")
    tab.see(f"{TABLE}.length", 5)


def test_a_mark_is_seen_in_the_chart_on_focus_and_in_the_table(system: System, tab: Browser) -> None:
    system.api()
    system.submit()
    text = "deploy 3f2a <b>bold</b> \u202ecba"
    assert system.post("/marks", {"text": text}).status_code == 201
    show(tab, system)
    shown = "deploy 3f2a <b>bold</b> \\u202ecba"
    tab.see("document.querySelector('.mark')?.ariaLabel", lambda label: label and label.endswith(shown))
    tab.run("document.querySelector('.mark').focus()")
    tab.see(TIP, lambda said: shown in str(said))
    assert shown in tab.run(f"{TABLE}.at(-1).at(-1)") or shown in tab.run(f"{TABLE}.at(-2).at(-1)")
    tab.run("document.activeElement.blur()")
    tab.see("document.querySelector('.tip').hidden")
    tab.run(f"{PLOT}.focus()")
    tab.press("ArrowLeft")
    tab.see(TIP, lambda said: re.match(r"\d\d:\d\d", str(said)))


@pytest.mark.long(4)
def test_two_days_are_loaded_when_asked_for_and_then_only_their_newest_rows(system: System, tab: Browser) -> None:
    system.api()
    system.submit()
    block = now_ms(system.server) // 600_000
    for ago in range(1, 288):
        row = json.dumps({"submitted": 1000 + ago, "done": 999 + ago, "failed": 1, "waiting": 7, "run:100": 999})
        system.server.client.hset(f"jq:{{default}}:sums:{block - ago}", "*", row)
    tab.loads.clear()
    show(tab, system)
    assert not any("/series" in address for address, _ in tab.loads)
    tab.run("localStorage.setItem('jobqueue-every', '1')")
    tab.run("[...document.querySelectorAll('.switch a')].find(each => each.innerText === 'Two days').click()")
    tab.see(f"{TABLE}.length", 288)
    assert tab.run(f"{TABLE}[200][2]") == f"{999 + 87:,}"
    asked = "performance.getEntriesByType('resource').filter(each => each.name.includes('/series')).length"
    tab.see(asked, lambda n: n >= 3)
    first, *later = [(address, size) for address, size in tab.loads if "/series" in address]
    assert "since=" not in first[0] and later
    assert all("since=" in address and size <= 1500 for address, size in later), later
    assert tab.run(f"{TABLE}.length") == 288
    assert len(set(tab.run(f"{TABLE}.map(row => row[0])"))) == 288, "with the day"


def test_one_spike_does_not_flatten_the_rest(system: System, tab: Browser) -> None:
    system.api()
    system.submit()
    for ago in range(1, 50):
        past(system.server, ago, submitted=100 if ago != 30 else 1_800_000, done=100)
    show(tab, system)
    tab.see("document.querySelector('text.beyond')?.textContent", "1.8M")
    heights = tab.run("[...document.querySelectorAll('rect.done')].map(each => Number(each.getAttribute('height')))")
    assert max(heights) > 60 and len(heights) >= 49


def test_numbers_on_the_axes_are_short(api: System, tab: Browser) -> None:
    show(tab, api)
    words = "import('/static/words.js').then(({compact}) => [0, 7, 950, 1000, 1234, 100000, 1800000].map(compact))"
    assert tab.run(words) == ["0", "7", "950", "1k", "1.2k", "100k", "1.8M"]


def test_latency_by_type_stands_beside_the_chart_and_leads_to_it(growing: System, tab: Browser) -> None:
    counts: dict[str, Any] = {"done": 60, "run:100": 60, "wait:10": 60}
    counted(growing, 1, "default", "mail", **counts)
    show(tab, growing)
    tab.see("document.querySelector('table.latency tbody tr')?.innerText.includes('75–98 ms')")
    tab.click("table.latency a")
    tab.see(f"{HASH}", "#/?queue=default&type=mail&show=times")
    tab.see("document.querySelectorAll('figure path.line.wait').length", 2)


def test_types_say_what_comes_dies_and_takes_time_and_lead_to_chart_and_jobs(system: System, tab: Browser) -> None:
    system.api()
    dead_letters(system, 3)
    JobQueue(system.url).submit_many([NewJob("image", queue="mail")] * 5)
    for name, ms in (("mail", 250), ("image", 750)):
        counted(system, 0, "mail", name, **{"done": 1, "run:10": 1, "run:sum": ms})
    show(tab, system, "types")
    tab.see(ROWS, 2)
    cell = "document.querySelector('tr[data-key=\"mail %s\"] [data-label=%s]').innerText"
    assert tab.run(cell % ("mail", "Dead")) == "3" and tab.run(cell % ("image", "Dead")) == "0"
    assert tab.run(cell % ("mail", "Time")) == "25 %" and tab.run(cell % ("image", "Time")) == "75 %"
    tab.click('tr[data-key="mail mail"] [data-label=Dead] a')
    tab.see(ROWS, 3)
    show(tab, system, "types")
    tab.click("a[aria-label='Chart of image in mail']")
    tab.see(TITLE, lambda text: str(text).startswith("image in mail: in"))
    tab.see(f"{TABLE}.length", 60)
