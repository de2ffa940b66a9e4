"""Incidents that are about finding jobs and putting them right, played in a real browser with their clicks counted."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from _jobqueue.record.database import Record, open_record
from jobqueue import JobQueue, NewJob
from tests.harness import System, eventually
from tests.pages.browser import Browser
from tests.pages.dashboard import LIVE, ROWS, TEXT, Q, button, dead_letters, says, serious_violations, show
from tests.pages.test_dashboard_in_trouble import copies
from tests.played import Worker
from tests.record.rows import rows_of


class Hand:
    """A person's hand on the mouse: it counts."""

    def __init__(self, tab: Browser) -> None:
        self.tab, self.clicks = tab, 0

    def on(self, selector: str) -> None:
        self.clicks += 1
        self.tab.click(selector)

    def on_button(self, text: str, within: str = "body") -> None:
        self.clicks += 1
        button(self.tab, text, within)

    def on_link(self, text: str, within: str = "body") -> None:
        """The first one whose text has that in it."""
        find = f"[...document.querySelectorAll({json.dumps(within + ' a')})].find(each => each.innerText.includes({json.dumps(text)}))"
        self.tab.see(f"!!{find}")
        self.clicks += 1
        self.tab.run(f"{find}.click()")

    def seeks(self, text: str) -> None:
        """By keyboard, from wherever one is."""
        self.tab.run("document.activeElement.blur()")
        self.tab.press("/")
        self.tab.see("document.activeElement.id", "search")
        self.tab.write(text)
        self.tab.press("Enter")
        self.tab.see("document.querySelector('#search').value", "")


@pytest.fixture
def hand(tab: Browser) -> Hand:
    return Hand(tab)


def fail(system: System, n: int, type: str, message: str, kind: str = "KeyError", queue: str = "default") -> list[str]:
    jobs = JobQueue(system.url)
    for start in range(0, n, 500):
        some = range(start, min(n, start + 500))
        jobs.submit_many([NewJob(type, {"order": 4700 + at}, queue=queue, max_attempts=1) for at in some])
    worker, ids = Worker(jobs, os.urandom(9).hex(), queue=queue).handles(type), list[str]()
    while len(ids) < n:
        claimed = worker.claim(min(64, n - len(ids)))
        ids += [job.id for job in claimed]
        for at, job in enumerate(claimed):
            worker.end("failed", job, kind=kind, message=message.format(at))
    return ids


def five_hundred_have_failed(system: System, tab: Browser, hand: Hand, n: int) -> None:
    hosts = fail(system, 20, "webhook.deliver", "'host'")
    vats = fail(system, n, "ledger.post", "'vat_id_v2'")
    hosts += fail(system, 3, "ledger.post", "'host'")
    show(tab, system)
    hand.on("nav a[href='#/dead']")
    said = says(tab, "KeyError", "3 different errors", "'vat_id_v2' ledger.post", "'host' webhook.deliver")
    assert said.index("'vat_id_v2'") < said.index("'host'")
    row = "tr[data-key=\"KeyError ledger.post 'vat_id_v2'\"]"
    assert tab.run(f"document.querySelector({json.dumps(row)}).children[1].innerText") == f"{n}"
    assert tab.run(f"document.querySelectorAll({json.dumps(row + ' svg rect')}).length") > 0
    hand.on(f"{row} .retry")
    told = "Dead letters of the kind KeyError of the type ledger.post that say “'vat_id_v2'”, in all queues."
    tab.see("document.querySelector('dialog p')?.innerText", told)
    hand.on_button(f"Retry {n} jobs", "dialog")
    says(tab, f"{n} retried: watch them")
    assert hand.clicks == 3
    assert {job["job_id"] for job in system.get("/dlq?limit=200").json()["jobs"]} == set(hosts)
    hand.on_link("watch them", "main")
    tab.see(ROWS, min(n, 50))
    shown = set(tab.run("[...document.querySelectorAll('tbody tr')].map(each => each.dataset.key)"))
    assert shown <= set(vats) and {system.job(each)["status"] for each in shown} == {"queued"}
    worker = Worker(JobQueue(system.url), "again").handles("ledger.post")
    worker.give("done", 2)
    worker.give("failed", 1, "KeyError", "'vat_id_v2'")
    chips = "[...document.querySelectorAll('.chips a')].map(each => each.innerText.replace('\\n', ' '))"
    tab.call("Page.reload")
    tab.see(f"{LIVE} && {chips}", lambda found: found and {f"queued {n - 3}", "done 2", "failed 1"} <= set(found))


@pytest.mark.long(6)
def test_of_many_errors_of_one_kind_those_that_say_the_same_are_retried_and_watched(
    system: System, tab: Browser, hand: Hand
) -> None:
    system.api()
    five_hundred_have_failed(system, tab, hand, 60)


@pytest.mark.long(10)
def test_five_hundred_errors_among_others_of_their_kind(system: System, tab: Browser, hand: Hand) -> None:
    system.api()
    five_hundred_have_failed(system, tab, hand, 500)


@pytest.mark.long(2)
def test_a_group_is_retried_with_the_keyboard(system: System, tab: Browser) -> None:
    system.api()
    vats, hosts = fail(system, 3, "ledger.post", "'vat_id_v2'"), fail(system, 2, "webhook.deliver", "'host'")
    show(tab, system, "dead")
    says(tab, "2 different errors")
    tab.press("j", "j", "j", "r")
    tab.see("document.querySelector('dialog h2')?.innerText", "Retry 2 jobs?")
    tab.press("Enter")
    says(tab, "2 retried: watch them")
    assert {system.job(each)["status"] for each in vats} == {"failed"}
    assert {system.job(each)["status"] for each in hosts} == {"queued"}


def test_what_failed_since_a_time_of_day_is_asked_for_as_it_is_said(system: System, tab: Browser, hand: Hand) -> None:
    system.api()
    dead = fail(system, 5, "ledger.post", "'host'", queue="mail")
    client = system.server.client
    hours = {job_id: int(client.zscore(f"{Q}failed", job_id)) - 3_600_000 * n for n, job_id in enumerate(dead)}
    for index in ("failed", "kind:KeyError"):
        client.zadd(f"{Q}{index}", hours, xx=True)
    show(tab, system, "jobs?status=failed")
    tab.see(ROWS, 5)
    two_hours_ago = tab.run(
        "(at => `${at.getFullYear()}-${at.getMonth() + 1}-${String(at.getDate()).padStart(2, '0')} ${String(at.getHours()).padStart(2, '0')}:${String(at.getMinutes()).padStart(2, '0')}`)(new Date(Date.now() - 9000e3))"
    )
    hand.on("input[name=since]")
    tab.write(two_hours_ago)
    tab.press("Enter")
    tab.see(ROWS, 3)
    assert "since=20" in tab.run("location.hash")
    tab.run("document.querySelector('input[name=until]').focus()")
    tab.write("90 min")
    tab.press("Enter")
    tab.see(ROWS, 1)
    says(tab, "1–1 of 1", dead[2][:8])
    tab.run("document.querySelector('input[name=until]').select()")
    tab.write("soon")
    tab.press("Enter")
    tab.see("document.querySelector('input[name=until]').getAttribute('aria-invalid')", "true")
    tab.click(".chips a[href*='status=&'], .chips a:first-child")
    says(tab, "A time is asked of jobs that have ended")
    tab.see("document.querySelector('.chips a[href*=failed] .count')?.innerText", "1")
    tab.complaints[:] = [each for each in tab.complaints if "422" not in each]


def test_what_is_selected_within_a_time_is_all_that_an_action_hits(system: System, tab: Browser) -> None:
    system.api()
    dead = dead_letters(system, 60)
    client = system.server.client
    old = {job_id: int(client.zscore(f"{Q}failed", job_id)) - 3_600_000 for job_id in dead[:8]}
    for index in ("failed", "kind:Boom"):
        client.zadd(f"{Q}{index}", old, xx=True)
    show(tab, system, "jobs?status=failed")
    tab.click("input[name=since]")
    tab.write("30 min")
    tab.press("Enter")
    says(tab, "1–50 of 52")
    tab.click("thead input")
    button(tab, "Select all 52 that match")
    button(tab, "Retry", ".selection")
    button(tab, "Retry 52 jobs", "dialog")
    eventually(lambda: system.get("/dlq").json()["total"], equals=8)
    assert {job["job_id"] for job in system.get("/dlq").json()["jobs"]} == set(dead[:8])


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Record]:
    record = open_record(f"sqlite:///{tmp_path / 'history.db'}")
    record.migrate()
    yield record
    record.close()


def a_customers_job(system: System) -> str:
    job = {
        "type": "invoice.render",
        "queue": "billing",
        "payload": {"to": "ada@example.org", "order": 471147},
        "tags": ["customer:7"],
        "unique_key": "invoice-471147",
        "max_attempts": 1,
    }
    job_id = str(system.post("/jobs", job, Idempotency_Key="order 471147").json()["job_id"])
    jobs = JobQueue(system.url)
    jobs.submit_many([NewJob("invoice.other", queue="other") for _ in range(3)])
    worker = Worker(jobs, "billing", queue="billing").handles("invoice.render")
    worker.give("failed", 1, "FontMissing", "no font")
    return job_id


SEARCHES = {  # what is typed -> clicks until the job is on the screen
    "the id": ("{id}", 0),
    "8 letters of it": ("{short}", 0),
    "a tag": ("customer:7", 1),
    "an address in the payload": ("ada@example.org", 0),
    "a number in the payload": ("471147", 0),
    "the idempotency key": ("order 471147", 0),
    "the unique key": ("invoice-471147", 0),
    "the queue": ("billing", 1),
    "a part of the type": ("render", 1),
    "the type": ("invoice.render", 1),
    "the kind of error": ("FontMissing", 1),
}
SAID = {  # instead, where no record is kept
    "an address in the payload": "Payloads are searched in the record, and none is kept here",
    "a number in the payload": "Payloads are searched in the record, and none is kept here",
}


@pytest.mark.parametrize("recorded", [True, pytest.param(False, marks=pytest.mark.long(3))])
def test_the_customers_job_is_found_by_whatever_is_known_of_it(
    recorded: bool, system: System, tab: Browser, hand: Hand, record: Record, tmp_path: Path
) -> None:
    system.api(**({"HISTORY_URL": f"sqlite:///{tmp_path / 'history.db'}"} if recorded else {}))
    job_id = a_customers_job(system)
    if recorded:
        record.write(rows_of(JobQueue(system.url).get(job_id)))
    show(tab, system)
    for name, (text, clicks) in SEARCHES.items():
        hand.clicks = 0
        hand.seeks(text.format(id=job_id, short=job_id[:8]))
        if not recorded and name in SAID:
            says(tab, SAID[name])
            continue
        if clicks:
            says(tab, "Found in")
            hand.on("main tbody tr a")
        says(tab, job_id[:8])
        assert hand.clicks == clicks, name
        tab.run("location.hash = '#/'")
        says(tab, "finished per minute")


def test_filters_are_typed_completed_and_taken_away(system: System, tab: Browser) -> None:
    system.api()
    jobs = JobQueue(system.url)
    for type, queue in (("email.send", "mail"), ("email.bounce", "mail"), ("order.import", "shop")):
        jobs.submit_many([NewJob(type, queue=queue, tags=["eu"])] * 2)
    show(tab, system)
    tab.press("/")
    offered = "[...document.querySelectorAll('#found li b')].map(each => each.innerText)"
    tab.see(offered, ["status:", "type:", "queue:", "tag:", "kind:"])
    tab.write("ema")
    tab.see(offered, ["type:email.bounce", "type:email.send"])
    tab.press("ArrowDown", "ArrowDown")
    assert tab.run("document.querySelector('#search').getAttribute('aria-activedescendant')") == "found-1"
    tab.press("Enter")
    tab.see("location.hash", "#/jobs?type=email.send")
    tab.see(ROWS, 2)
    tab.press("/")
    tab.write("tag:eu status:queued")
    tab.press("Enter")
    tab.see("location.hash", "#/jobs?type=email.send&tag=eu&status=queued")
    chips = "[...document.querySelectorAll('.filters .tag')].map(each => each.innerText)"
    tab.see(chips, ["type: email.send ×", "tag: eu ×"])
    tab.click(".filters .tag")
    tab.see(ROWS, 6)
    assert tab.run("location.hash") == "#/jobs?tag=eu&status=queued"
    tab.press("/")
    tab.write("queue:s")
    tab.see(offered, ["queue:shop"])
    tab.press("Tab")
    tab.see(ROWS, 2)
    tab.press("/")
    tab.write("type:order")
    tab.press("Escape")
    tab.see("document.querySelector('#found').hidden")
    assert tab.run("document.querySelector('#search').getAttribute('aria-expanded')") == "false"


@pytest.mark.long(2)
def test_a_job_is_created_and_retried_with_another_payload(whole: System, tab: Browser, hand: Hand) -> None:
    show(tab, whole)
    hand.on("nav a[href='#/create']")
    tab.see("document.querySelector('main textarea') !== null")
    tab.run("document.querySelector('textarea').select()")
    tab.write('"FAIL_NOW"')
    tab.run("document.querySelector('input[name=type]').select()")
    tab.write("TEST")
    hand.on_button("Submit", "main")
    says(tab, "asked to fail without a retry")
    assert hand.clicks == 2
    hand.clicks = 0
    show(tab, whole, "jobs?status=failed")
    hand.on("tbody .what a")
    hand.on_button("Retry with another payload…")
    tab.see("document.querySelector('dialog textarea') !== null")
    tab.run("document.querySelector('dialog textarea').select()")
    tab.write('"better"')
    hand.on_button("Retry with this payload")
    says(tab, '"better"', "done")
    assert hand.clicks == 3


def of_another_type(system: System, job_ids: list[str], type: str) -> None:
    for job_id in job_ids:
        system.server.client.hset(f"{Q}job:{job_id}", "type", type)


def a_type_is_looked_for_among(system: System, tab: Browser, hand: Hand, n: int) -> None:
    system.api(RATE_LIMIT_MAX="0")
    ours = dead_letters(system, 3)
    copies(system, ours[0], n)
    of_another_type(system, ours, "rare.type")
    oldest = min(int(system.server.client.zscore(f"{Q}failed", each)) for each in ours) - 10**7
    system.server.client.zadd(f"{Q}failed", dict.fromkeys(ours, oldest), xx=True)
    JobQueue(system.url).submit("rare.type", queue="mail")
    show(tab, system)
    hand.seeks("type:rare.type status:failed")
    tab.see(f"/looked at [0-9,]+ of {n + 3:,}/.test({TEXT})")
    says(tab, f"looked at {n + 3:,} of {n + 3:,}", "1–3", *(each[:8] for each in ours), within_s=60)
    assert hand.clicks == 0
    hand.seeks("type:no.such")
    says(tab, "No worker knows the type no.such, and no job of it waits", within_s=5)
    tab.click("section.empty .actions button")
    tab.see(f"/looked at [0-9,]+ of/.test({TEXT})")


@pytest.mark.long(4)
def test_a_look_for_a_type_goes_on_by_itself(own_system: System, tab: Browser, hand: Hand) -> None:
    a_type_is_looked_for_among(own_system, tab, hand, 30_000)


@pytest.mark.long(30)
def test_a_look_for_a_type_among_two_hundred_thousand_jobs_is_stopped(
    own_system: System, tab: Browser, hand: Hand
) -> None:
    a_type_is_looked_for_among(own_system, tab, hand, 200_000)
    button(tab, "Stop")
    says(tab, "Go on")
    looked = tab.run(TEXT)
    button(tab, "Go on")
    tab.see(TEXT, lambda text: text != looked)


def test_what_is_listed_is_saved_as_ndjson(system: System, tab: Browser) -> None:
    system.api()
    jobs = JobQueue(system.url)
    jobs.submit_many([NewJob("a", {"n": n}, tags=["t"]) for n in range(230)])
    jobs.submit("b", "x" * 3000, tags=["t"])
    show(tab, system, "jobs?tag=t&status=queued")
    tab.see(ROWS, 50)
    tab.run(
        "URL.createObjectURL = (blob) => { blob.text().then(text => { window.saved = text; }); return 'data:text/plain,x'; }"
    )
    button(tab, "Export")
    toast = "document.querySelector('#toasts').innerText"
    tab.see(toast, "231 jobs saved in jobs-queued-t.ndjson; of 1 what is above 2 KiB is cut")
    rows = [json.loads(line) for line in tab.see("window.saved", lambda text: text).splitlines()]
    assert sorted(row["payload"]["n"] for row in rows if row["type"] == "a") == list(range(230))
    assert len({row["job_id"] for row in rows}) == 231


def test_times_are_those_of_the_clock_or_relative_as_one_likes(system: System, tab: Browser) -> None:
    system.api()
    dead_letters(system, 1)
    show(tab, system, "jobs")
    cell = "document.querySelector('td.age').innerText"
    assert len(tab.see(cell, lambda text: text).split(":")) == 3
    tab.see("document.querySelector('td.age time').title", lambda text: "ago" in str(text))
    assert tab.see("document.querySelector('[data-key=times]').innerText", lambda text: "UTC" in text)
    tab.click("[data-key=times]")
    tab.see(cell, lambda text: text.endswith("ago") or text == "now")
    tab.call("Page.reload")
    tab.see(f"{LIVE} && {cell}", lambda text: text and (text.endswith("ago") or text == "now"))


@pytest.mark.parametrize("status", ["", "queued", "failed", "done"])
def test_a_job_is_a_line_of_34_px_and_its_payload_has_most_of_the_room(
    status: str, system: System, tab: Browser
) -> None:
    system.api()
    jobs = JobQueue(system.url)
    jobs.submit_many([NewJob("email.send", {"long": "word " * 60}, tags=["a:1", "b:2"], max_attempts=1)] * 6)
    worker = Worker(jobs)
    worker.give("failed", 2, "SomethingWentWrongError", "it is a long story " * 20)
    worker.give("done", 2)
    show(tab, system, f"jobs?status={status}", width=1300)
    tab.see(f"{ROWS} > 0")
    assert set(tab.run("[...document.querySelectorAll('tbody tr')].map(each => each.offsetHeight)")) == {34}
    heads = tab.run("[...document.querySelectorAll('th')].map(each => [each.innerText, each.offsetWidth])")
    names = [name for name, _ in heads]
    assert max(heads, key=lambda each: each[1])[0] in ("Payload", "Error, payload")
    assert names[-1] == "Tags" and ("Ran" in names) == (status == "done") and ("Status" in names) == (not status)


@pytest.mark.long(5)
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1300, 360])
def test_axe_finds_no_serious_violation_in_what_opens(system: System, tab: Browser, dark: bool, width: int) -> None:
    system.api()
    fail(system, 3, "ledger.post", "'vat_id_v2'")
    fail(system, 2, "webhook.deliver", "'host'")
    for view in ("jobs?status=failed&kind=KeyError&type=ledger.post&error='vat_id_v2'", "search?q=ledger", "dead"):
        show(tab, system, view, width=width, dark=dark)
        tab.see(f"{TEXT}.length > 20")
        if view == "dead":
            tab.click(".sub")
            tab.run("history.back()")
            says(tab, "2 different errors")
            tab.click("tr[data-key=KeyError] .retry")
            button(tab, "Retry 5 jobs", "dialog")
            says(tab, "5 retried: watch them")
        else:
            tab.press("/")
            tab.see("document.querySelectorAll('#found li').length > 3")
        assert serious_violations(tab) == [], view
