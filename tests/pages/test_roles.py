"""The dashboard for keys of each scope: buttons that a key may not press are not there, and the key is kept as one asks."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest

from _jobqueue.keys import new_key
from _jobqueue.schedules import Schedule
from jobqueue import JobQueue
from tests.harness import System, eventually
from tests.pages.browser import Browser
from tests.pages.dashboard import LIVE, ROWS, TEXT, VIEWS, button, dead_letters, says, show
from tests.played import Worker

WRITES = re.compile(
    r"(Pause|Resume|Retry|Delete|Cancel|Run|Stop|Limit|New|Edit|Set|Remove|Check|Submit|Save|Mark|Use as)\b(?! aside)"
)
BUTTONS = "[...document.querySelectorAll('button:not(.head)')].filter(each => each.checkVisibility()).map(each => each.innerText)"
WHO = "document.querySelector('#who').innerText"
ROLES = ("read", "submit", "admin")
SOME = ("", "dead", "queues", "schedules", "create", "system")
whole_or_some = pytest.mark.parametrize(
    "views", [SOME, pytest.param(VIEWS, marks=pytest.mark.long(15))], ids=["some", "all"]
)


@pytest.fixture
def guarded(system: System) -> dict[str, str]:
    """A system with something of everything, and a key of each scope."""
    keys = {scope: new_key(f"the-{scope}-one", scope) for scope in ROLES}
    system.api(API_KEYS=",".join(entry for _, entry in keys.values()))
    jobs = JobQueue(system.url)
    jobs.submit("mail")
    jobs.submit("mail", delay_s=1000)
    Worker(jobs).claim()
    jobs.submit("mail")
    dead_letters(system, 2)
    jobs.pause("mail")
    jobs.pause_type("default", "mail")
    jobs.schedules.put("default", "nightly", Schedule.of_json({"every_s": 604800, "type": "mail"}))
    return {scope: key for scope, (key, _) in keys.items()}


def enter(tab: Browser, system: System, key: str, view: str = "") -> None:
    tab.open(f"{system.api_url}/#/{view}", until="document.querySelector('dialog[open] input') !== null")
    tab.write(key)
    tab.press("Enter")
    tab.see(LIVE)
    assert all("401" in text for text in tab.complaints)
    tab.complaints.clear()


def with_jobs(system: System, views: Sequence[str]) -> list[str]:
    """The views, and one job of each status; of some views, the one of a dead letter."""
    jobs = [*JobQueue(system.url).page().jobs]
    pages = {job.status: f"jobs/{job.id}" for job in jobs}
    return [*views, *(sorted(pages.values()) if views is VIEWS else [pages["failed"]])]


def writing(tab: Browser, system: System, views: Sequence[str]) -> dict[str, list[str]]:
    """The buttons of each view that change something."""
    found = {}
    for view in with_jobs(system, views):
        show(tab, system, view)
        tab.see(f"{TEXT}.length > 20")
        found[view] = sorted({text for text in tab.run(BUTTONS) if WRITES.match(text)})
    return {view: texts for view, texts in found.items() if texts}


def statuses(system: System) -> dict[str, str]:
    return {job.id: job.status for job in JobQueue(system.url).page().jobs}


@pytest.mark.long(9)
@whole_or_some
def test_a_read_key_sees_no_button_that_writes(
    guarded: dict[str, str], system: System, tab: Browser, views: Sequence[str]
) -> None:
    enter(tab, system, guarded["admin"])
    assert tab.see(WHO, "the-admin-one · admin")
    known = {"", "dead", "queues", "types", "schedules", "limits", "create", "system"}
    assert writing(tab, system, views).keys() >= known & {*views}
    tab.run("sessionStorage.clear()")
    enter(tab, system, guarded["read"])
    assert tab.see(WHO, "the-read-one · read")
    assert writing(tab, system, views) == {}
    assert "Create" not in tab.run("document.querySelector('nav').innerText")
    show(tab, system, "create")
    says(tab, "This key may not submit jobs")
    show(tab, system, "queues")
    assert "Action" not in tab.run("document.querySelector('thead').innerText")


@pytest.mark.long(2)
def test_with_a_read_key_no_key_of_the_keyboard_writes_either(
    guarded: dict[str, str], system: System, tab: Browser
) -> None:
    enter(tab, system, guarded["read"], "jobs?status=failed")
    tab.see(ROWS, 2)
    before = statuses(system)
    tab.press("j", "x", "r", "c", "Delete")
    assert tab.run("document.querySelector('tbody input')") is None
    tab.press("Enter")
    says(tab, "Attempt 1 failed")
    tab.press("r", "c", "Delete")
    show(tab, system, "dead")
    tab.see(ROWS, 1)
    tab.press("j", "r", "Delete", "g", "q")
    says(tab, "default")
    tab.press("j", "p", ".")
    tab.see(LIVE)
    assert tab.run("document.querySelector('dialog')") is None
    assert tab.run("document.querySelector('#toasts').innerText") == ""
    assert statuses(system) == before


@pytest.mark.long(8)
@whole_or_some
def test_a_submit_key_may_create_and_change_nothing_else(
    guarded: dict[str, str], system: System, tab: Browser, views: Sequence[str]
) -> None:
    enter(tab, system, guarded["submit"])
    assert tab.see(WHO, "the-submit-one · submit")
    found = writing(tab, system, views)
    assert found["create"] == ["Submit"]
    assert {text for texts in found.values() for text in texts} == {"Submit", "Run again", "Use as template"}
    show(tab, system, "create")
    button(tab, "Echo")
    button(tab, "Submit")
    says(tab, "echo", "queued")


def test_without_keys_there_is_no_name_and_everything_may_be_done(system: System, tab: Browser) -> None:
    system.api()
    dead_letters(system, 1)
    show(tab, system, "dead")
    says(tab, "Retry all", "Delete all")
    assert tab.run(f"[{WHO}, document.querySelector('#who').checkVisibility()]") == ["", False]


def test_the_key_is_kept_for_the_browser_only_when_that_is_asked_for(
    guarded: dict[str, str], system: System, tab: Browser
) -> None:
    enter(tab, system, guarded["read"])
    assert tab.run("localStorage.getItem('jobqueue-key')") is None
    tab.run("sessionStorage.clear()")  # as a new tab has none
    tab.open(f"{system.api_url}/#/", until="document.querySelector('dialog[open] input') !== null")
    tab.write(guarded["read"])
    tab.click("dialog [type=checkbox]")
    button(tab, "Use this key", "dialog")
    tab.see(LIVE)
    tab.run("sessionStorage.clear()")
    show(tab, system)
    assert tab.see(WHO, "the-read-one · read")
    tab.click("#who")
    tab.see("document.querySelector('dialog [type=checkbox]')?.checked")
    assert "look at everything, and change nothing" in tab.run("document.querySelector('dialog').innerText")
    tab.click("dialog [type=checkbox]")
    kept = "[sessionStorage.getItem('jobqueue-key'), localStorage.getItem('jobqueue-key')]"
    assert tab.see(kept, [guarded["read"], None])
    button(tab, "Use another key", "dialog")
    tab.see("document.querySelector('dialog h2')?.innerText", "An API key is needed")
    assert tab.run(kept) == [None, None]
    tab.write(guarded["admin"])
    tab.press("Enter")
    assert tab.see(WHO, "the-admin-one · admin")
    assert all("401" in text for text in tab.complaints)
    tab.complaints.clear()


def test_a_key_of_some_queues_names_them(system: System, tab: Browser) -> None:
    key, entry = new_key("clerk", "admin@mail+shop")
    system.api(API_KEYS=entry)
    dead_letters(system, 1)
    enter(tab, system, key)
    assert tab.see(WHO, "clerk · admin · mail, shop")
    eventually(lambda: tab.run("document.querySelector('#health .retry')?.innerText"), equals="Retry 1")
