"""What is wrong, on the dashboard in a real browser: ranked, folded, put right with a button, set aside."""

from __future__ import annotations

import json

import pytest

from jobqueue import JobQueue, NewJob
from tests.harness import System, eventually
from tests.pages.browser import Browser
from tests.pages.dashboard import LIVE, button, dead_letters, polled_twice, says, show
from tests.played import Worker, now_ms

LINES = "[...document.querySelectorAll('#health li')].map(each => each.querySelector('.fold').innerText.split('\\n').slice(1).join(' '))"
TOP_OF_COUNTERS = "document.querySelector('.tiles').getBoundingClientRect().top + scrollY"
END_OF_COUNTERS = "document.querySelector('.tiles').getBoundingClientRect().bottom + scrollY"


@pytest.fixture
def troubled(system: System) -> System:
    """Of three queues the one hurts most that nobody serves; nine things are wrong."""
    system.api()
    system.reaper()
    jobs = JobQueue(system.url)
    jobs.submit_many([NewJob("import", n, queue="imports") for n in range(900)])
    dead_letters(system, 30, "SMTPAuthenticationError")
    dead_letters(system, 4, "KeyError")
    jobs.submit("echo", queue="shop")
    jobs.pause("shop")
    for name in ("one", "another", "a-third", "a-fourth", "a-fifth"):
        jobs.pause_type("shop", name)
    return system


@pytest.mark.long(6)
def test_the_worst_three_are_open_by_queue_and_the_rest_is_folded(troubled: System, tab: Browser) -> None:
    show(tab, troubled)
    told = tab.see(LINES, lambda lines: len(lines) == 3)
    assert told[0] == "imports 900 jobs wait, no worker"
    assert told[1:] == ["mail 30 new dead letters: SMTPAuthenticationError", "mail 4 new dead letters: KeyError"]
    n = len(troubled.get("/stats").json()["health"])
    assert n == 9
    button(tab, f"{n - 3} more", "#health")
    every = tab.see(LINES, lambda lines: len(lines) == n)
    assert len(set(every)) == n
    queues = [line.split()[0] for line in every]
    assert queues == sorted(queues, key=["imports", "mail", "shop"].index)
    polled_twice(tab)
    assert tab.run(LINES) == every
    button(tab, "Fewer", "#health")
    tab.see(LINES, told)


@pytest.mark.long(5)
def test_a_line_unfolds_into_the_whole_sentence_and_stays_so(troubled: System, tab: Browser) -> None:
    show(tab, troubled)
    tab.see(f"{LINES}.length", 3)
    assert tab.run("document.querySelector('.finding')") is None
    tab.click("#health li:first-child .fold")
    sentence = "document.querySelector('#health .finding p').innerText"
    assert "start one (python worker.py --queues imports)" in tab.see(sentence, lambda text: text)
    polled_twice(tab)
    assert "python worker.py" in tab.run(sentence)
    assert tab.run("document.querySelector('#health .fold').getAttribute('aria-expanded')") == "true"
    tab.click("#health li:first-child .fold")
    tab.see("document.querySelector('.finding')", None)


@pytest.mark.parametrize("width, height", [pytest.param(360, 740, marks=pytest.mark.long(3)), (1280, 720)])
def test_findings_never_push_the_counters_off_the_first_screen(
    troubled: System, tab: Browser, width: int, height: int
) -> None:
    show(tab, troubled, width=width)
    how = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    tab.call("Emulation.setDeviceMetricsOverride", **how)
    tab.see(f"{LINES}.length", 3)
    heights = tab.run("[...document.querySelectorAll('#health li')].map(each => each.offsetHeight)")
    assert max(heights) <= 44  # one line each
    assert tab.run(END_OF_COUNTERS) <= height
    n = len(troubled.get("/stats").json()["health"])
    button(tab, f"{n - 3} more", "#health")
    tab.see(f"{LINES}.length", n)
    for at in range(1, n + 1):
        tab.run(f"document.querySelector('#health li:nth-child({at}) .fold').click()")
    tab.see("document.querySelectorAll('.finding').length", n)
    assert tab.run(TOP_OF_COUNTERS) <= height - 64


def test_dead_letters_are_retried_from_their_line(troubled: System, tab: Browser) -> None:
    show(tab, troubled)
    tab.see(f"{LINES}.length", 3)
    button(tab, "Retry 30", "#health")
    tab.see("document.querySelector('dialog h2')?.innerText", "Retry 30 jobs?")
    told = "Dead letters of the kind SMTPAuthenticationError in the queue mail."
    assert tab.run("document.querySelector('dialog p').innerText") == told
    button(tab, "Retry 30 jobs", "dialog")
    tab.see("document.querySelector('#toasts').innerText", "30 retried: watch them")
    tab.see(LINES, lambda lines: not any("SMTP" in line for line in lines))
    assert [each["kind"] for each in troubled.get("/dlq/kinds").json()["kinds"]] == ["KeyError"]


def test_a_paused_queue_is_resumed_from_its_line(system: System, tab: Browser) -> None:
    system.api()
    system.worker("--threads", "1")
    system.reaper()
    system.submit(1, type="noop")
    system.post("/queues/default/pause")
    system.submit(2, type="noop")
    show(tab, system)
    tab.see(LINES, lambda lines: lines and lines[0].startswith("default Paused: "))
    button(tab, "Resume", "#health")
    tab.see("document.querySelector('#chip').innerText", "All clear")
    assert not system.get("/queues").json()["queues"][0]["paused"]


ASIDE = "JSON.parse(localStorage.getItem('jobqueue-aside'))"


def test_a_finding_is_set_aside_for_an_hour_and_no_other_with_it(troubled: System, tab: Browser) -> None:
    show(tab, troubled)
    before = tab.see(LINES, lambda lines: len(lines) == 3)
    tab.click("#health li:first-child .quiet")
    after = tab.see(LINES, lambda lines: before[0] not in lines and len(lines) == 3)
    assert after[0] == before[1]
    assert "1 set aside" in tab.run("document.querySelector('.rest').innerText")
    assert list(tab.run(ASIDE)) == ["no_worker:imports"]
    tab.call("Page.reload")
    tab.see(f"{LIVE} && {LINES}", after)
    assert before[0] not in after
    button(tab, "1 set aside", "#health")
    tab.see(LINES, [*after, before[0]])
    button(tab, "Bring back", "#health")
    tab.see(LINES, before)
    tab.click("#health li:first-child .quiet")
    tab.see(LINES, after)
    past = {"no_worker:imports": 1000 * (now_ms(troubled.server) // 1000) - 1}
    tab.run(f"localStorage.setItem('jobqueue-aside', {json.dumps(json.dumps(past))})")
    tab.see(LINES, before)


def test_other_views_have_a_chip_and_the_tab_counts_the_errors(troubled: System, tab: Browser) -> None:
    errors = [each["level"] for each in troubled.get("/stats").json()["health"]].count("error")
    assert errors >= 1
    show(tab, troubled, "queues")
    word = "1 error" if errors == 1 else f"{errors} errors"
    tab.see("document.querySelector('#chip').innerText", word)
    assert tab.run("document.title") == f"({errors}) Queues · jobqueue"
    assert tab.run("document.querySelector('#health').innerText") == ""
    tab.click("#chip a")
    tab.see(f"{LINES}.length", 3)
    tab.click("#health li:first-child .quiet")
    rest = errors - 1
    tab.see("document.title", f"({rest}) Overview · jobqueue" if rest else "Overview · jobqueue")


def test_a_job_that_hangs_is_shown_from_its_line(system: System, tab: Browser) -> None:
    system.api()
    system.reaper()
    jobs = JobQueue(system.url)
    job = jobs.submit("mail")
    worker = Worker(jobs).handles("mail")
    worker.claim()
    said = {"host": "here", "threads": 1, "types": ["mail"], "running": []}
    worker.presence.beat(said, worker.policies, (), {"mail": {"run:250": 30}})
    worker.also = {"running": [{"job_id": job.id, "type": "mail", "for_s": 240.0}]}
    worker.renew()
    show(tab, system)
    tab.see(LINES, lambda lines: lines and "mail has run for 4 min, usually 242 ms at most" in lines[0].lower())
    tab.click("#health li:first-child a.button")
    says(tab, job.id, "Attempt 1 is running")


def test_only_what_one_may_do_is_done_from_a_line(system: System, tab: Browser) -> None:
    """Without the right to retry or resume, the line leads to where it can be seen."""
    system.api()
    dead_letters(system, 3)
    show(tab, system)
    tab.see("document.querySelector('#health .retry')?.innerText", "Retry 3")
    tab.run("import('/static/key.js').then(({learn}) => learn({name: 'eye', scope: 'read', queues: null}))")
    tab.see("document.querySelector('#health .retry')", None)
    tab.see(
        "document.querySelector('#health a.button').getAttribute('href')", "#/jobs?status=failed&queue=mail&kind=Boom"
    )
    eventually(lambda: tab.run("document.querySelector('#health li .actions').innerText"), equals="Show\nSet aside")
