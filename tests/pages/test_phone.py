"""The dashboard on a phone, at night: 360 pixels, dark, a thumb."""

from __future__ import annotations

import json

import pytest

from jobqueue import JobQueue, NewJob
from tests.harness import System, eventually
from tests.pages.browser import Browser
from tests.pages.dashboard import LIVE, ROWS, TEXT, VIEWS, button, dead_letters, says, serious_violations, show
from tests.played import Worker

LEAST = 32  # pixels, of what a thumb is to find
# Visible, and not a word in a sentence; a box is as large as the label around it.
SMALL = """[...document.querySelectorAll('a, button, select, input, textarea')].filter(each => each.checkVisibility() && !each.closest('.skip, figure'))
    .filter(each => !(each.matches('a') && each.closest('p:not(.actions, .foot, #chip, .rest, .counts), .message, small, dd, h2, td.detail')))
    .map(each => [each, (each.matches('[type=checkbox]') ? each.closest('label') : each).getBoundingClientRect()])
    .filter(([each, {width, height}]) => width < LEAST || height < LEAST)
    .map(([each, {width, height}]) => `${Math.round(width)} x ${Math.round(height)}: ${each.outerHTML.slice(0, 120)}`)"""


@pytest.fixture
def busy(system: System) -> System:
    system.api()
    system.reaper()
    jobs = JobQueue(system.url)
    jobs.submit_many([NewJob("mail", {"to": n}, tags=["welcome"]) for n in range(4)])
    Worker(jobs).claim()
    jobs.submit("mail", delay_s=1000)
    dead_letters(system, 30, "SMTPAuthenticationError")
    jobs.pause("default")
    return system


def at_night(tab: Browser, system: System, view: str = "") -> None:
    show(tab, system, view, width=360, dark=True)
    tab.call("Emulation.setDeviceMetricsOverride", width=360, height=740, deviceScaleFactor=1, mobile=True)


def test_a_cause_is_found_and_put_right_with_a_thumb(busy: System, tab: Browser) -> None:
    at_night(tab, busy)
    assert tab.see("document.querySelector('#health li').innerText", lambda text: "30 new dead letters" in str(text))
    assert tab.run("getComputedStyle(document.body).backgroundColor") == "rgb(19, 19, 18)"
    ends = "document.querySelector('.tiles').getBoundingClientRect().bottom"
    assert tab.run(f"{ends} <= innerHeight")
    tab.click("#menu")
    menu = tab.see("document.querySelector('#views').innerText", lambda text: "Dead letters" in text)
    assert "30" in menu and "Queues" in menu
    assert serious_violations(tab) == []
    tab.click("nav a[href='#/dead']")
    says(tab, "SMTPAuthenticationError", "Retry all")
    assert not tab.run("document.querySelector('#views').checkVisibility()")
    assert tab.run("document.querySelector('#chip').innerText") in ("1 warning", "2 warnings", "1 error")
    tab.click("#chip a")
    button(tab, "Retry 30", "#health")
    button(tab, "Retry 30 jobs", "dialog")
    eventually(lambda: busy.get("/dlq").json()["total"], equals=0)


def test_the_menu_closes_by_escape_and_by_a_tap_beside_it(busy: System, tab: Browser) -> None:
    at_night(tab, busy)
    shown = "document.querySelector('#views').checkVisibility()"
    for close in (
        lambda: tab.press("Escape"),
        lambda: tab.click(".rates .tile:last-child"),
        lambda: tab.click("#menu"),
    ):
        tab.click("#menu")
        tab.see(shown)
        assert tab.run("document.querySelector('#menu').getAttribute('aria-expanded')") == "true"
        close()
        tab.see(shown, False)
    assert tab.run("location.hash") == "#/"


@pytest.mark.parametrize(
    "step", [pytest.param(4, marks=pytest.mark.long(2)), pytest.param(1, marks=pytest.mark.long(8))]
)
def test_a_thumb_finds_whatever_can_be_pressed(busy: System, tab: Browser, step: int) -> None:
    jobs = sorted({job["status"]: f"jobs/{job['job_id']}" for job in busy.get("/jobs").json()["jobs"]}.values())
    for view in [*VIEWS, *jobs][::step]:
        at_night(tab, busy, view)
        tab.see(f"{TEXT}.length > 20")
        if view == "":
            tab.click("#health .fold")
            tab.click("#menu")
            tab.see("document.querySelector('#views').checkVisibility()")
        assert tab.run(SMALL.replace("LEAST", json.dumps(LEAST))) == [], view


def test_a_selection_can_be_made_and_used_with_a_thumb(busy: System, tab: Browser) -> None:
    at_night(tab, busy, "jobs?status=failed")
    tab.see(ROWS, 30)
    tab.click("tbody tr:nth-child(2) .check label")
    tab.see("document.querySelector('.selection strong').innerText", "1 selected")
    button(tab, "Retry", ".selection")
    tab.see(f"{LIVE} && {ROWS}", 29)


def test_a_phone_is_turned_before_the_first_view_is_there(busy: System, tab: Browser) -> None:
    turned = "addEventListener('DOMContentLoaded', () => dispatchEvent(new Event('resize')))"
    script = tab.call("Page.addScriptToEvaluateOnNewDocument", source=turned)["identifier"]
    at_night(tab, busy, "jobs?status=failed")
    tab.see(ROWS, 30)
    tab.call("Page.removeScriptToEvaluateOnNewDocument", identifier=script)
    assert tab.complaints == []


def test_a_workflow_says_that_it_goes_on_beyond_the_edge_and_keys_lead_there(system: System, tab: Browser) -> None:
    """By a shadow at that edge."""
    system.api()
    chain = [NewJob("step", name=f"s{n}", after=[f"s{n - 1}"] if n else []) for n in range(4)]
    job = JobQueue(system.url).submit_many(chain)[0].job
    assert job
    at_night(tab, system, f"jobs/{job.id}")
    flow = "document.querySelector('.flow')"
    assert tab.see(f"{flow}.scrollWidth - {flow}.clientWidth", lambda beyond: (beyond or 0) > 100)
    assert "scroll" in tab.run(f"getComputedStyle({flow}).backgroundAttachment")
    tab.run(f"{flow}.focus()")
    tab.press("ArrowRight", "ArrowRight")
    tab.see(f"{flow}.scrollLeft > 0")
    assert serious_violations(tab) == []
