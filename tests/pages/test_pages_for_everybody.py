"""All pages, light and dark, from a phone to a wide screen: axe-core finds nothing, and nothing is wider than the window.

The names are as long as names may be, the numbers too. `make test` looks at some; the whole is long."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from _jobqueue.record.database import open_record
from _jobqueue.schedules import Schedule
from jobqueue import JobQueue, Limit, NewJob
from tests.harness import Server, System, eventually
from tests.pages.browser import Browser
from tests.pages.dashboard import LIVE, TEXT, violations
from tests.played import Worker
from tests.record.rows import failed, rows_of

LONG = "a" + "W" * 63  # without a place to break it
DOTTED = ".".join(["part-of_a_name"] * 5)[:64]
SENTENCE = "x" * 300 + " and then " + "y" * 3000
NUMBER = 123_456_789_012_345
DOCS = ("docs", "docs#submit", "docs#putSchedule", "docs#get")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """Something of everything, with names of 64 letters."""
    history = f"sqlite:///{tmp_path_factory.mktemp('record') / 'history.db'}"
    record = open_record(history)
    record.migrate()
    record.write(rows_of(failed(type=LONG, queue=LONG), rev=1))
    record.close()
    server = Server()
    system = System(server)
    system.api(HISTORY_URL=history, RATE_LIMIT_MAX="0")
    system.worker("--threads", "2", SIMULATED_WORK_S="3000")
    system.reaper()
    jobs = JobQueue(system.url)
    submit_jobs(jobs)
    fail(jobs)
    define(jobs)
    system.submit({"long": SENTENCE}, type="echo", tags=["running"], timeout_s=7200)
    eventually(lambda: system.get("/jobs?status=processing").json()["total"], equals=lambda n: n > 0)
    yield system
    system.close(show_logs=False)
    server.close()


def submit_jobs(jobs: JobQueue) -> None:
    tags = [f"{n}{LONG}"[:64] for n in range(10)]
    jobs.submit(LONG, {LONG * 4: SENTENCE, "n": NUMBER}, queue=LONG, tags=tags, unique_key=LONG * 3)
    jobs.submit(DOTTED, {"deep": [[[[[[SENTENCE]]]]]]}, queue=DOTTED, priority=9)
    jobs.submit(LONG, 2, queue=LONG, delay_s=30_000_000)
    jobs.cancel(jobs.submit(LONG, 3, queue=LONG).id)
    jobs.submit_many(
        [NewJob(LONG, 4, queue=LONG, name=LONG), NewJob(LONG, 5, queue=LONG, name=DOTTED, after=["*"], tags=[LONG])]
    )
    jobs.pause(LONG)


def fail(jobs: JobQueue) -> None:
    """Dead letters of two kinds, with long tracebacks; and one that is done, with a long result."""
    for kind, type in ((LONG, "mail"), ("psycopg.errors.UniqueViolation", LONG)):
        jobs.submit(type, {"of": kind}, queue="mail", max_attempts=1)
        worker = Worker(jobs, f"w-{kind[:9]}".replace(".", "-"), queue="mail")
        worker.give("failed", 1, kind, f"{kind}: {SENTENCE}")
    jobs.submit("mail", 1, queue="mail")
    Worker(jobs, "w-done", queue="mail").give("done", 1)


def define(jobs: JobQueue) -> None:
    weekly = Schedule.of_json({"every_s": 604_800, "type": LONG, "payload": SENTENCE})
    for name in (LONG, DOTTED):
        jobs.schedules.put(LONG, name, weekly)
        jobs.limits.put(LONG, name, Limit(max_running=100_000))
    jobs.schedules.pause(LONG, DOTTED)
    jobs.limit_waiting(LONG, 5)


def pages_of(tab: Browser, system: System) -> list[str]:
    """Every view that the page leads to, a job of each status, and what is not in the navigation."""
    tab.open(f"{system.api_url}/", until=LIVE)
    views = tab.run("[...document.querySelectorAll('nav a')].map(each => each.getAttribute('href').slice(1))")
    assert len(views) > 10, views
    found = system.get("/jobs?limit=100").json()["jobs"]
    jobs = {job["status"]: f"/jobs/{job['job_id']}" for job in found}
    assert {"queued", "scheduled", "blocked", "processing", "done", "failed", "cancelled"} <= jobs.keys()
    others = ["/jobs/none", f"/search?q={LONG}", f"/jobs?tag={LONG}", f"/dead?kind={LONG}"]
    return [f"#{view}" for view in (*views, *jobs.values(), *others)] + list(DOCS)


def show(tab: Browser, system: System, page: str, width: int, dark: bool) -> None:
    is_docs = page.startswith("docs")
    until = "document.querySelectorAll('article').length > 0" if is_docs else f"{LIVE} && {TEXT}.length > 20"
    tab.press("Escape")
    if is_docs or not tab.run("location.pathname === '/'"):
        tab.open(f"{system.api_url}/{page}", width=width, dark=dark, until=until)
    else:  # the page stays, as it does for somebody who clicks
        tab.run(f"location.hash = {json.dumps(page)}")
    tab.see(f"{until} && document.querySelector('main').innerText.trim() !== 'Loading…'")


USED = ("#/jobs", "#/", "docs#submit", "docs#get")


def use(tab: Browser, page: str) -> None:
    """What a page looks like while somebody does something there."""
    if page == "#/jobs":
        tab.click("tbody input[type=checkbox]")
        tab.see("document.querySelector('.selection') !== null")
    elif page == "#/":
        tab.press("?")
        tab.see("document.querySelector('dialog') !== null")
    elif page == "docs#submit":
        tab.run("document.querySelectorAll('#submit details').forEach(each => each.open = true)")
        tab.see("document.querySelectorAll('#submit .answers .field').length > 30")
    else:
        tab.run("document.querySelector('#get-path-job_id').value = 'none'")
        tab.click("#get .send")
        tab.see("document.querySelector('#get .answer strong') !== null")


# Numbers of six digits, wherever there are some.
HUGE = """(() => {
    for (const each of document.querySelectorAll('.tile b, td.n, td.n *, nav .count')) {
        for (const text of [...each.childNodes].filter(one => one.nodeType === 3)) {
            text.data = text.data.replace(/^\\d+(\\.\\d)?$/, '123,456').replace(/^\\d+ \\/ \\d+$/, '123,456 / 123,456');
        }
    }
})()"""
WIDER = """(() => {
    const most = document.documentElement.clientWidth;
    const isHidden = each => each.closest('.unseen, .skip') || getComputedStyle(each).visibility === 'hidden';
    if (document.documentElement.scrollWidth <= most) return [];
    return [...document.querySelectorAll('body *')]
        .filter(each => each.getBoundingClientRect().right > most + 1 && !isHidden(each))
        .slice(-3).map(each => each.outerHTML.slice(0, 200));
})()"""


def complaints(tab: Browser, width: int) -> list[str]:
    """What is wrong with the page as it stands."""
    tab.run(HUGE)
    scrolled, wider = tab.run(f"[document.documentElement.scrollWidth, {WIDER}]")
    found = [f"{scrolled} px wide: {wider}"] if scrolled > width else []
    return [*found, *(f"{rule} ({impact}): {nodes}" for rule, impact, nodes in violations(tab))]


WHOLE = [(width, dark, 0, 1) for width in (360, 800, 1280, 2560) for dark in (False, True)]
THIRDS = [(360, True, 0, 3), (1280, False, 1, 3)]
QUICK = (1280, False, 1, 7)  # every seventh page


def named(value: tuple[int, bool, int, int]) -> str:
    width, dark, first, step = value
    return f"{width}-{'dark' if dark else 'light'}-{first + 1} of {step}"


@pytest.mark.parametrize(
    "look",
    [
        QUICK,
        *(pytest.param(each, marks=pytest.mark.long(9)) for each in THIRDS),
        *(pytest.param(each, marks=pytest.mark.long(25)) for each in WHOLE),
    ],
    ids=named,
)
def test_everybody_can_use_every_page(hostile: System, tab: Browser, look: tuple[int, bool, int, int]) -> None:
    width, dark, first, step = look
    found = {}
    pages = pages_of(tab, hostile)[first::step]
    tab.open(f"{hostile.api_url}/", width=width, dark=dark, until=LIVE)
    for page in pages:
        show(tab, hostile, page, width, dark)
        wrong = complaints(tab, width)
        if page in USED:
            use(tab, page)
            wrong += complaints(tab, width)
        if wrong:
            found[page[:60]] = wrong
    assert not found, "\n".join(f"{page}\n    {each}" for page, wrong in found.items() for each in wrong)
    assert all("/jobs/none" in each for each in tab.complaints), tab.complaints
    tab.complaints.clear()  # that there is no such job
