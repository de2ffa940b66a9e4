"""What the stories of the dashboard share: how a view is shown, read and used."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path
from typing import Any

import pytest

from jobqueue import JobQueue, NewJob
from tests.harness import ROOT, System
from tests.pages.browser import Browser
from tests.played import Worker

STATIC = ROOT / "_jobqueue/web/static"
VIEWS = [
    "",
    "jobs",
    "dead",
    "queues",
    "types",
    "schedules",
    "limits",
    "flows",
    "workers",
    "webhooks",
    "create",
    "system",
]
LIVE = "document.querySelector('#pulse')?.textContent === 'live'"
TEXT = "document.querySelector('main').innerText"
ROWS = "document.querySelectorAll('main tbody tr').length"
Q = "jq:{mail}:"


def show(tab: Browser, system: System, view: str = "", **how: Any) -> None:
    tab.open(f"{system.api_url}/#/{view}", until=LIVE, **how)


def says(tab: Browser, *words: str, within_s: float = 20.0) -> str:
    """The text of the view, once all the words are in it."""
    return str(tab.see(TEXT, lambda text: text and all(word in text for word in words), within_s))


def button(tab: Browser, text: str, within: str = "body") -> None:
    """Click the button with that text."""
    find = f"[...document.querySelectorAll({json.dumps(within + ' button')})].find(each => each.innerText === {json.dumps(text)})"
    tab.click_on(find)


def nothing_is_asked(tab: Browser) -> None:
    """For longer than the time between two polls, which is 2 s unless told otherwise."""
    asked = "performance.getEntriesByType('resource').length"
    before = tab.run(f"[performance.now(), {asked}]")
    tab.see(f"performance.now() > {before[0] + 2600}")
    assert tab.run(asked) == before[1]


def dead_letters(system: System, n: int, kind: str = "Boom", queue: str = "mail") -> list[str]:
    """So many jobs that have failed for good."""
    jobs = JobQueue(system.url)
    stored = [each.job for each in jobs.submit_many([NewJob("mail", {"n": at}, queue=queue) for at in range(n)])]
    Worker(jobs, os.urandom(11).hex(), queue=queue).give("failed", n, kind, f"{kind}: it broke")
    return [job.id for job in stored if job]


def polled_twice(tab: Browser) -> None:
    """Wait until two more polls have been shown: the second finds what the first has drawn."""
    polls = "performance.getEntriesByType('resource').filter(each => each.name.endsWith('/stats')).length"
    tab.see(f"{polls} > {tab.run(polls) + 2}")


def violations(tab: Browser) -> list[tuple[str, str, list[str]]]:
    """What axe-core finds in the page as it is: rule, impact, some of the elements."""
    if not tab.run("'axe' in globalThis"):
        found = importlib.util.find_spec("axe_core_python")
        if not found or not found.submodule_search_locations:
            pytest.skip("axe_core_python is in requirements-dev.txt")
        tab.run((Path(found.submodule_search_locations[0]) / "axe.min.js").read_text() + ";undefined")
    report = tab.run("""axe.run({resultTypes: ['violations']}).then(({violations, passes}) => [
        violations.map(each => [each.id, each.impact, each.nodes.slice(0, 3).map(node => node.html.slice(0, 160))]),
        passes.map(each => each.id),
    ])""")
    assert "color-contrast" in report[1]  # a colour that it cannot read ends the rule
    return [(rule, impact, nodes) for rule, impact, nodes in report[0]]


def serious_violations(tab: Browser) -> list[tuple[str, str, list[str]]]:
    return [each for each in violations(tab) if each[1] in ("serious", "critical")]
