"""What the stories of the dashboard share: how a view is shown, read and used."""

from __future__ import annotations

import json
import os
from typing import Any

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
    tab.see(f"{find} && !{find}.disabled && {find}.setAttribute('data-test', '') === undefined")
    tab.click("[data-test]")
    tab.run("document.querySelectorAll('[data-test]').forEach(each => each.removeAttribute('data-test'))")


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
