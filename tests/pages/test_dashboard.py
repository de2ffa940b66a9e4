"""The dashboard in a real browser: what it shows, what it does, and that it stays calm while the world below it does not."""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from _jobqueue.keys import new_key
from _jobqueue.schedules import Schedule
from _jobqueue.store.ids import new_id
from jobqueue import JobQueue, NewJob
from tests.harness import ROOT, System, eventually
from tests.pages.browser import Browser, browser
from tests.pages.screenshots import age
from tests.played import Worker, now_ms

STATIC = ROOT / "_jobqueue/web/static"
VIEWS = ["", "jobs", "dead", "queues", "types", "schedules", "workers", "create", "system"]
LIVE = "document.querySelector('#pulse')?.textContent === 'live'"
TEXT = "document.querySelector('main').innerText"
ROWS = "document.querySelectorAll('main tbody tr').length"
HOSTILE = "</script><img src=x onerror='window.caught=1'><b>bold</b>"
Q = "jq:{mail}:"


@pytest.fixture(scope="module")
def browsing() -> Iterator[Browser]:
    with browser() as opened:
        yield opened


@pytest.fixture
def tab(browsing: Browser) -> Iterator[Browser]:
    """A tab that keeps nothing of the test before, and in the end has nothing to complain of."""
    yield browsing
    assert browsing.complaints == []
    browsing.run("(sessionStorage.clear(), localStorage.clear())")


@pytest.fixture
def whole(system: System) -> System:
    """API, worker and reaper on an empty Redis."""
    system.api()
    system.worker("--threads", "2")
    system.reaper()
    return system


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


# --------------------------------------------------------------------------------------------------------- stories


def test_a_newcomer_submits_a_sample_and_sees_it_finish(whole: System, tab: Browser) -> None:
    show(tab, whole)
    assert "curl -s " + whole.api_url in says(tab, "No job has been submitted yet")
    button(tab, "Submit a sample job")
    says(tab, "done", "hello", "Attempt 1 done")
    assert whole.get("/jobs?status=done").json()["total"] == 1
    tab.press("g", "o")
    tab.see("document.querySelector('a.tile .done')?.closest('a').innerText", "done\n1")


def test_a_schedule_is_made_with_a_preview_run_paused_and_changed(whole: System, tab: Browser) -> None:
    show(tab, whole, "schedules")
    says(tab, "No schedules")
    button(tab, "New schedule", "main")
    shown = "document.querySelectorAll('dialog ol li').length"
    tab.see(shown, lambda n: n == 6)  # it makes the dialog higher, so the fields stand still only now
    tab.click("dialog input[aria-label=Queue]")
    tab.write("reports")
    tab.click("dialog input[aria-label=Name]")
    tab.write("nightly")
    tab.run("document.querySelector('dialog textarea').select()")
    tab.write('{"every_s": 0.1}')
    tab.see("document.querySelector('dialog .wrong').innerText", lambda text: "every_s must be" in text)
    tab.run("document.querySelector('dialog textarea').select()")
    tab.write('{"every_s": 7200, "timezone": "America/New_York", "type": "noop"}')
    tab.see(shown, lambda n: n == 6)
    tab.see("document.title", lambda _: tab.complaints != [])  # of what was typed first
    assert all("422" in text for text in tab.complaints)
    tab.complaints.clear()
    assert whole.get("/schedules").json()["total"] == 0
    button(tab, "Save", "dialog")
    says(tab, "nightly", "reports", "Every 2 hours", "in 1 h 59 min")
    button(tab, "Pause", "main")
    says(tab, "paused", "Resume")
    button(tab, "Resume", "main")
    button(tab, "Edit", "main")
    tab.see("document.querySelector('dialog textarea')?.value.includes('America/New_York')")
    tab.run("document.querySelector('dialog textarea').select()")
    tab.write('{"every_s": 60, "type": "noop", "payload": 5}')
    button(tab, "Save", "dialog")
    says(tab, "Every minute")
    button(tab, "Run now", "main")
    says(tab, "noop", "reports")
    (job,) = whole.get("/jobs").json()["jobs"]
    assert (job["schedule"], job["payload"]) == ("nightly", 5)
    assert tab.see("document.querySelector('dl a[href=\"#/schedules\"]')?.innerText", "nightly")
    show(tab, whole, "schedules")
    says(tab, "fired", "queued")
    button(tab, "Delete", "main")
    button(tab, "Delete it", "dialog")
    says(tab, "No schedules")


def test_a_payload_is_checked_while_it_is_typed(whole: System, tab: Browser) -> None:
    show(tab, whole, "create")
    tab.run("document.querySelector('textarea').select()")
    tab.write('{"a": ')
    assert "JSON" in tab.see("document.querySelector('main .wrong').innerText", lambda text: len(text) > 5)
    assert tab.run("document.querySelector('main form .primary').disabled")
    tab.write("12345678901234567890}")
    tab.click("input[name=tags]")
    tab.write("blue green")
    button(tab, "Submit")
    says(tab, "blue", "green", "12345678901234567890", "Attempt 1 done")
    (job,) = whole.get("/jobs").json()["jobs"]
    assert job["payload"] == {"a": 12345678901234567890} and job["tags"] == ["blue", "green"]


def test_filters_stand_in_the_address_and_a_reload_keeps_them(whole: System, tab: Browser) -> None:
    for n in range(3):
        whole.ends(whole.submit(n, type="noop", tags=["odd" if n % 2 else "even"]))
    whole.submit(0, type="noop", delay_s=100, tags=["even"])
    show(tab, whole, "jobs")
    tab.see(ROWS, 4)
    tab.click("input[name=tag]")
    tab.write("even")
    tab.press("Enter")
    tab.see(ROWS, 3)
    tab.click(".chips a[href*=done]")
    tab.see(ROWS, 2)
    assert tab.run("location.hash") == "#/jobs?tag=even&status=done"
    tab.call("Page.reload")
    tab.see(f"{LIVE} && {ROWS}", 2)
    assert tab.run("document.querySelector('input[name=tag]').value") == "even"
    assert tab.run("document.querySelector('.chips [aria-current]').innerText") == "done"
    tab.run("history.back()")
    tab.see(ROWS, 3)


def test_pages_follow_each_other_by_cursor(whole: System, tab: Browser) -> None:
    dead_letters(whole, 120)
    show(tab, whole, "jobs?status=failed")
    seen = set()
    for expected, at in ((50, "1–50 of 120"), (50, "51–100 of 120"), (20, "101–120 of 120")):
        says(tab, at)
        assert tab.run(ROWS) == expected
        seen |= set(tab.run("[...document.querySelectorAll('tbody tr')].map(each => each.dataset.key)"))
        if expected == 50:
            tab.run("[...document.querySelectorAll('.pages a')].at(-1).click()")
    assert len(seen) == 120


def test_a_dead_letter_is_retried_with_another_payload_and_seen_to_finish(whole: System, tab: Browser) -> None:
    job_id = whole.submit("FAIL_NOW", type="TEST")
    whole.ends(job_id, "failed")
    show(tab, whole, f"jobs/{job_id}")
    says(tab, "asked to fail without a retry", "Attempt 1 failed")
    button(tab, "Retry with another payload…")
    tab.run("document.querySelector('dialog textarea').select()")
    tab.write('"better"')
    button(tab, "Retry with this payload")
    says(tab, '"better"', "Attempt 1 done")
    assert whole.job(job_id)["result"] == "better"


def test_a_group_of_dead_letters_goes_only_after_its_number_was_typed(whole: System, tab: Browser) -> None:
    dead_letters(whole, 7, "Boom")
    kept = dead_letters(whole, 2, "Bang")
    show(tab, whole, "dead")
    text = says(tab, "Boom", "Bang")
    assert text.index("Boom") < text.index("Bang")
    tab.click("tr[data-key=Boom] .delete")
    tab.see("document.querySelector('dialog .danger').disabled")
    tab.write("6")
    assert tab.run("document.querySelector('dialog .danger').disabled")
    tab.run("document.querySelector('dialog input').select()")
    tab.write("7")
    button(tab, "Delete 7 jobs", "dialog")
    tab.see(ROWS, 1)
    assert {job["job_id"] for job in whole.get("/dlq").json()["jobs"]} == set(kept)
    tab.see("document.querySelector('#toasts').innerText", "7 deleted")


def test_what_is_selected_is_retried_and_nothing_moves_meanwhile(whole: System, tab: Browser) -> None:
    ids = dead_letters(whole, 4)
    show(tab, whole, "jobs?status=failed")
    tab.see(ROWS, 4)
    tab.click("tbody tr:nth-child(1) input")
    tab.see("document.querySelector('#pulse').textContent", "paused: rows are selected")
    tab.run(
        "document.querySelector('tbody tr:nth-child(3) input').dispatchEvent(new MouseEvent('click', {shiftKey: true, bubbles: true}))"
    )
    tab.see("document.querySelector('.selection strong').innerText", "3 selected")
    before = tab.run("performance.getEntriesByType('resource').length")
    nothing_is_asked(tab)
    button(tab, "Retry", ".selection")
    tab.see(ROWS, 1)
    asked = tab.run(
        f"performance.getEntriesByType('resource').slice({before}).map(each => new URL(each.name).pathname)"
    )
    assert asked[0] == "/jobs/bulk"
    tab.see(LIVE)
    assert sum(whole.job(job_id)["status"] != "failed" for job_id in ids) == 3


def test_everything_that_matches_is_cancelled_by_its_filter(system: System, tab: Browser) -> None:
    system.api()
    JobQueue(system.url).submit_many([NewJob("mail", n, tags=["old"]) for n in range(60)])
    JobQueue(system.url).submit("mail", tags=["new"])
    show(tab, system, "jobs?tag=old")
    tab.see(ROWS, 50)
    tab.click("thead input")
    button(tab, "Select all 60 that match")
    button(tab, "Cancel", ".selection")
    tab.see("document.querySelector('dialog input') !== null")
    tab.write("60")
    button(tab, "Cancel 60 jobs", "dialog")
    eventually(lambda: system.get("/jobs?status=cancelled").json()["total"], equals=60)
    assert system.get("/jobs?status=queued").json()["total"] == 1


def asked(tab: Browser) -> tuple[str, str, str]:
    """Title, sentence and the button that does it, of the dialog that is open; it is left again."""
    tab.see("document.querySelector('dialog h2')?.innerText.endsWith('?')")
    said = [
        tab.run(f"document.querySelector('dialog {part}').innerText") for part in ("h2", "p", "form button:last-child")
    ]
    button(tab, "Leave it", "dialog")
    tab.see("document.querySelector('dialog') === null")
    return said[0], said[1], said[2]


def test_a_dialog_names_the_queue_and_its_button_says_what_it_does(system: System, tab: Browser) -> None:
    system.api()
    dead_letters(system, 3)
    dead_letters(system, 2, queue="shop")
    show(tab, system, "dead?queue=shop")
    button(tab, "Retry all")
    told = "Dead letters of the kind Boom in the queue shop."
    assert asked(tab) == ("Retry 2 jobs?", told, "Retry 2 jobs")
    show(tab, system, "dead")
    button(tab, "Delete all")
    told = "Dead letters of the kind Boom in all queues. This cannot be undone."
    assert asked(tab) == ("Delete 5 jobs?", told, "Delete 5 jobs")
    show(tab, system, "jobs?status=failed")
    tab.see(ROWS, 5)
    tab.click("thead input")
    button(tab, "Delete", ".selection")
    told = "The selected jobs in the queues mail and shop. This cannot be undone."
    assert asked(tab) == ("Delete 5 jobs?", told, "Delete 5 jobs")
    (job_id,) = [each.job.id for each in JobQueue(system.url).submit_many([NewJob("mail")]) if each.job]
    show(tab, system, f"jobs/{job_id}")
    button(tab, "Cancel")
    told = "mail, in the queue default. If it runs, its handler is asked to stop."
    assert asked(tab) == ("Cancel this job?", told, "Cancel the job")
    JobQueue(system.url).submit_many([NewJob("mail", n, queue="shop", tags=["old"]) for n in range(60)])
    show(tab, system, "jobs?status=queued&queue=shop&tag=old")
    tab.see(ROWS, 50)
    tab.click("thead input")
    tab.click(".selection .link")
    button(tab, "Cancel", ".selection")
    told = "Queued jobs with the tag old in the queue shop."
    assert asked(tab) == ("Cancel 60 jobs?", told, "Cancel 60 jobs")


def test_a_workflow_is_drawn_and_leads_to_its_jobs(system: System, tab: Browser) -> None:
    system.api()
    jobs = JobQueue(system.url)
    rows = jobs.submit_many([*(NewJob("part", name=f"n{n}") for n in range(3)), NewJob("sum", after=["*"], name="all")])
    first, *_, last = [row.job.id for row in rows if row.job]
    show(tab, system, f"jobs/{last}")
    says(tab, "Workflow", "4 jobs", "It waits for 3 of 3 jobs")
    picture = (
        "[...document.querySelectorAll('.flow a')].map(each => each.getAttribute('class') + ' ' + each.textContent)"
    )
    assert sum("node blocked" in each for each in tab.see(picture, lambda found: len(found) == 4)) == 1
    assert tab.run("document.querySelectorAll('.flow path.edge').length") == 3
    tab.run(f"location.hash = document.querySelector('.flow a[href$=\"{first}\"]').getAttribute('href')")
    says(tab, "Workflow", first)
    show(tab, system, "jobs?status=blocked")
    says(tab, "waits for 3 jobs")


def test_a_large_workflow_is_folded_by_type(system: System, tab: Browser) -> None:
    system.api()
    jobs = JobQueue(system.url)
    rows = jobs.submit_many([*(NewJob("part") for _ in range(100)), NewJob("sum", after=["*"])])
    assert rows[100].job
    show(tab, system, f"jobs/{rows[100].job.id}")
    says(tab, "Workflow", "101 jobs", "100 × part")
    assert tab.run("document.querySelectorAll('.flow a').length") == 2


def test_rows_stay_the_same_elements_while_they_change(whole: System, tab: Browser) -> None:
    kept = whole.submit(1, type="echo", delay_s=100)
    show(tab, whole, "jobs")
    tab.run(f"window.row = document.querySelector('tr[data-key=\"{kept}\"]'), window.row.querySelector('a').focus()")
    whole.post(f"/jobs/{kept}/run")
    whole.submit(2, type="noop", delay_s=100)
    tab.see(ROWS, 2)
    tab.see("window.row.isConnected && window.row.innerText.includes('done')")
    assert tab.run("window.row.contains(document.activeElement)")


# ------------------------------------------------------------------------------------------------ what goes wrong


def test_hostile_texts_stay_texts(whole: System, tab: Browser) -> None:
    whole.ends(whole.submit({HOSTILE: [HOSTILE]}, type="echo"))
    (dead,) = dead_letters(whole, 1)
    whole.server.client.hset(f"{Q}job:{dead}", "error:1", f"1 1 Boom - -\n{HOSTILE}\0{HOSTILE}")
    for view in ("jobs", "dead", *(f"jobs/{job['job_id']}" for job in whole.get("/jobs").json()["jobs"])):
        show(tab, whole, view)
        says(tab, "<img src=x onerror=")
        assert tab.run("[window.caught, document.querySelectorAll('main img, main b b').length]") == [None, 0]


UNSEEN = "\u202e\u2066\u200f\u200b\u2060\ufeff\u00ad\U000e0041"
SHOWN = r"\u202e\u2066\u200f\u200b\u2060\ufeff\u00ad\udb40\udc41"


def test_characters_that_cannot_be_seen_are_shown_by_their_numbers(whole: System, tab: Browser) -> None:
    payload = {"name": f"{UNSEEN}evil txt.exe", "family": "\U0001f468\u200d\U0001f469", "joined": "a\u200db"}
    whole.ends(whole.submit(payload, type="echo"))
    (dead,) = dead_letters(whole, 1)
    whole.server.client.hset(
        f"{Q}job:{dead}", mapping={"error:1": f"1 1 Boom - -\n{UNSEEN}evil", "payload": json.dumps(payload)}
    )
    every = "document.documentElement.innerHTML + [...document.querySelectorAll('textarea')].map(each => each.value)"
    for view in ("jobs", "dead", *(f"jobs/{job['job_id']}" for job in whole.get("/jobs").json()["jobs"])):
        show(tab, whole, view)
        says(tab, f"{SHOWN}evil")
        assert not set(tab.run(every)) & set(UNSEEN)
    show(tab, whole, f"jobs/{dead}")
    says(tab, "\U0001f468\u200d\U0001f469", r"a\u200db")
    button(tab, "Retry with another payload…")
    assert SHOWN in tab.see("document.querySelector('dialog textarea').value", lambda text: "evil" in str(text))
    assert not set(tab.run(every)) & set(UNSEEN)
    button(tab, "Retry with this payload")
    eventually(lambda: whole.job(dead)["status"] != "failed")
    assert whole.job(dead)["payload"] == payload


def test_text_that_is_read_from_the_right_stays_in_its_place(api: System, tab: Browser) -> None:
    right = ["\u05d0\u05d1", "\u05d2\u05d3"]
    api.submit(right, type="hebrew", queue="right")
    show(tab, api, "jobs?queue=right")
    places = "[...document.querySelectorAll('main code bdi, main pre bdi')].map(each => [each.textContent, each.getBoundingClientRect().x])"
    found = tab.see(places, lambda found: len(found) == 2)
    assert [text for text, _ in found] == [f'"{text}"' for text in right] and found[0][1] < found[1][1]
    assert tab.run("document.querySelector('.preview code').textContent") == f'["{right[0]}","{right[1]}"]'


def test_no_script_writes_html() -> None:
    files = [path for path in STATIC.iterdir() if path.suffix in (".html", ".css", ".js")]
    assert len(files) > 20
    for path in files:
        text = path.read_text()
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|style=| on\w+=\"", text
        ), path.name


def test_redis_goes_away_and_comes_back(own_system: System, tab: Browser) -> None:
    own_system.api()
    own_system.worker("--threads", "1")
    own_system.reaper()
    own_system.ends(own_system.submit(1, type="noop"))
    show(tab, own_system, "jobs")
    tab.see("document.querySelector('#health').innerText", "All clear")
    own_system.server.kill()
    tab.see("document.querySelector('#pulse').textContent", lambda text: re.fullmatch(r"data \d+ s old", text))
    assert "Redis" in tab.see("document.querySelector('#health .error').innerText", lambda text: text)
    assert tab.run(ROWS) == 1
    own_system.server.start()
    tab.see(LIVE, within_s=40)
    tab.see("document.querySelector('#health').innerText", "All clear", within_s=40)
    assert all("503" in text for text in tab.complaints) and tab.complaints
    tab.complaints.clear()


def test_a_missing_worker_is_the_first_thing_one_sees(system: System, tab: Browser) -> None:
    system.api()
    system.reaper()
    system.submit(1)
    show(tab, system)
    sentence = "document.querySelector('#health li a').innerText"
    assert "no worker serves the queue default" in tab.see(sentence, lambda text: "worker" in str(text))
    tab.click("#health li a")
    says(tab, "No worker is running")
    show(tab, system, "queues")
    button(tab, "Pause")
    tab.see("document.querySelector('tr[data-key=default]').innerText", lambda text: "paused" in text)
    assert system.get("/queues").json()["queues"][0]["paused"]
    button(tab, "Resume")
    eventually(lambda: system.get("/queues").json()["queues"][0]["paused"], equals=False)


def test_a_queue_that_grows_says_so_and_one_that_shrinks_when_it_is_empty(system: System, tab: Browser) -> None:
    system.api()
    for queue, done in (("grows", 84), ("shrinks", 600)):
        JobQueue(system.url).submit_many([NewJob("echo", n, queue=queue) for n in range(20)])
        key = f"jq:{{{queue}}}:stats:{now_ms(system.server) // 60_000}"
        system.server.client.hset(key, mapping={"submitted": 329, "done": done})
    show(tab, system, "queues")
    cell = "document.querySelector('tr[data-key=%s] [data-label=\"Drained in\"]').innerText"
    assert re.fullmatch(r"grows by 2\d\d a minute", tab.see(cell % "grows", lambda text: text))
    assert re.fullmatch(r"[2-4](\.\d)? s", tab.run(cell % "shrinks"))


def polled_twice(tab: Browser) -> None:
    """Wait until two more polls have been shown: the second finds what the first has drawn."""
    polls = "performance.getEntriesByType('resource').filter(each => each.name.endsWith('/stats')).length"
    tab.see(f"{polls} > {tab.run(polls) + 2}")


def test_a_worker_of_several_queues_has_a_card_for_each(system: System, tab: Browser) -> None:
    system.api()
    system.worker("--queues", "default=2,email=2,reports=2")
    show(tab, system, "workers")
    cards = "[...document.querySelectorAll('.grid h2')].map(each => each.innerText.split(' ')[0]).sort()"
    tab.see(cards, ["default", "email", "reports"])
    polled_twice(tab)
    assert tab.run(cards) == ["default", "email", "reports"]


def test_all_that_is_wrong_is_shown_each_thing_once(whole: System, tab: Browser) -> None:
    whole.post("/queues/default/pause")
    for name in ("one", "another", "a-third"):
        whole.submit(type=name)
    show(tab, whole)
    lines = "[...document.querySelectorAll('#health li a')].map(each => each.lastChild.data)"
    seen = tab.see(lines, lambda found: len(found) == 4)
    polled_twice(tab)
    assert tab.run(lines) == seen == [each["text"] for each in whole.get("/stats").json()["health"]]


TYPES = "[...document.querySelectorAll('main tbody tr strong')].map(each => each.innerText)"


@pytest.fixture
def growing(system: System) -> System:
    """Nobody handles image, of which 60 have just come; 5 of mail waited before."""
    system.api()
    jobs = JobQueue(system.url)
    ids = [each.job.id for each in jobs.submit_many([NewJob("mail") for _ in range(5)]) if each.job]
    for job_id in ids:
        system.server.client.hset(f"jq:{{default}}:job:{job_id}", "created", now_ms(system.server) - 600_000)
    jobs.submit_many([NewJob("image", n) for n in range(60)])
    Worker(jobs).handles("mail", "idle")
    return system


def test_the_type_that_makes_a_queue_grow_is_named_and_stands_first(growing: System, tab: Browser) -> None:
    show(tab, growing, "types")
    told = says(tab, "grows most")
    assert re.match(r"image in the queue default grows most, by \d+ a minute: no living worker handles it\.", told)
    assert tab.run(TYPES) == ["image", "mail"]
    assert tab.run("document.querySelector('tr [data-label=Waiting]').innerText") == "60"
    tab.run("[...document.querySelectorAll('main a')].find(each => each.innerText === 'Show 1 idle type').click()")
    tab.see(TYPES, ["image", "mail", "idle"])


def test_types_are_sorted_by_any_column_and_the_address_keeps_it(growing: System, tab: Browser) -> None:
    show(tab, growing, "types")
    tab.see(TYPES, ["image", "mail"])
    assert tab.run("document.querySelector('[aria-sort]').innerText") == "Growth a minute"
    button(tab, "Oldest", "thead")
    tab.see(TYPES, ["mail", "image"])
    assert tab.run("document.querySelector('[aria-sort]').ariaSort") == "descending"
    tab.call("Page.reload")
    tab.see(f"{LIVE} && {TYPES}", ["mail", "image"])
    button(tab, "Oldest", "thead")
    tab.see(TYPES, ["image", "mail"])
    assert tab.run("[document.querySelector('[aria-sort]').ariaSort, location.hash]") == [
        "ascending",
        "#/types?sort=-oldest",
    ]
    show(tab, growing, "types", width=360)
    tab.see(TYPES, ["image", "mail"])
    choose = "(select => { select.value = 'oldest'; select.dispatchEvent(new Event('change')) })(document.querySelector('.sorting select'))"
    assert tab.run("document.querySelector('.sorting').offsetHeight") > 0
    tab.run(choose)
    tab.see(TYPES, ["mail", "image"])


def test_a_type_is_paused_and_resumed_from_its_row(growing: System, tab: Browser) -> None:
    show(tab, growing, "types")
    for does, paused in (("Pause", ["image"]), ("Resume", [])):
        tab.click(f"button[aria-label='{does} image in default']")
        eventually(lambda: growing.get("/queues").json()["queues"][0]["paused_types"], equals=paused)
        tab.see(
            f"document.querySelector('tr').closest('table').innerText.includes('paused') === {str(bool(paused)).lower()}"
        )


def test_a_queue_that_grows_leads_to_its_types(growing: System, tab: Browser) -> None:
    JobQueue(growing.url).submit_many([NewJob("report", queue="shop") for _ in range(90)])
    show(tab, growing, "types")
    tab.see(TYPES, ["report", "image", "mail"])
    show(tab, growing, "queues")
    tab.click("tr[data-key=default] a.late")
    tab.see(TYPES, ["image", "mail"])
    assert tab.run("location.hash") == "#/types?queue=default"
    tab.run("[...document.querySelectorAll('main a')].find(each => each.innerText === 'Show all queues').click()")
    tab.see(TYPES, ["report", "image", "mail"])


def test_a_long_queue_says_that_its_figures_are_estimates(system: System, tab: Browser) -> None:
    system.api()
    JobQueue(system.url).submit_many([NewJob("mail", n) for n in range(1200)])
    show(tab, system, "types")
    says(tab, "estimated from some of its jobs", "≈ 1,200")


def test_two_children_with_one_key_are_a_mistake_but_both_are_shown(api: System, tab: Browser) -> None:
    show(tab, api)
    script = """(async () => {
        const {h, show} = await import('/static/dom.js'), box = h('ul'), items = [1, 2, 3];
        const draw = () => show(box, items.map(n => h('li', {key: 'same'}, n)));
        draw();
        draw();
        return box.innerText || box.textContent;
    })()"""
    assert tab.run(script) == "123"
    assert len(tab.complaints) == 4 and all("two children have the key same" in text for text in tab.complaints)
    tab.complaints.clear()


def test_the_key_is_asked_for_once_and_kept_for_the_tab(system: System, tab: Browser) -> None:
    key, entry = new_key("me", "submit")
    system.api(API_KEYS=entry)
    tab.open(f"{system.api_url}/#/", until="document.querySelector('dialog[open] input') !== null")
    tab.write("wrong")
    tab.press("Enter")
    tab.see("document.querySelector('dialog h2').innerText", "That key was not accepted")
    tab.write(key)
    tab.press("Enter")
    tab.see(LIVE)
    button(tab, "Submit a sample job")
    says(tab, "no worker serves")
    tab.call("Page.reload")
    tab.see(LIVE)
    assert tab.run("document.querySelectorAll('dialog').length") == 0
    button(tab, "Cancel")
    button(tab, "Cancel the job")
    assert "admin" in tab.see("document.querySelector('#toasts .error').innerText", lambda text: text)
    assert all("401" in text or "403" in text for text in tab.complaints)
    tab.complaints.clear()


def copies(system: System, job_id: str, n: int) -> None:
    """So many more of a dead letter, written straight into Redis: that is quick, and the checker finds nothing wrong."""
    client = system.server.client
    fields = client.hgetall(f"{Q}job:{job_id}")
    when = int(client.zscore(f"{Q}failed", job_id))
    for start in range(0, n, 10_000):
        ids = {new_id(1): when - start - at for at in range(10_000)}
        pipe = client.pipeline(transaction=False)
        for each in ids:
            pipe.hset(f"{Q}job:{each}", mapping=fields)
        pipe.zadd(f"{Q}failed", ids)
        pipe.zadd(f"{Q}kind:Boom", ids)
        pipe.hincrby(f"{Q}totals", "submitted", len(ids))
        pipe.execute()


def test_two_hundred_thousand_dead_letters_stay_smooth(own_system: System, tab: Browser) -> None:
    own_system.api(RATE_LIMIT_MAX="0")
    (job_id,) = dead_letters(own_system, 1)
    copies(own_system, job_id, 200_000)
    show(tab, own_system, "dead")
    says(tab, "200,001")
    tab.click("tr[data-key=Boom] a")
    says(tab, "1–50 of 200,001")
    assert tab.run("document.querySelectorAll('*').length") < 2000
    slowest = tab.run("Math.max(...performance.getEntriesByType('resource').map(each => each.duration))")
    assert slowest < 3000, slowest
    tab.press("j", "j")
    tab.see("document.activeElement.closest('tr').rowIndex", 2, within_s=2)
    tab.click("thead input")
    button(tab, "Select all 200,001 that match")
    button(tab, "Delete", ".selection")
    tab.see("document.querySelector('dialog input') !== null", within_s=60)
    tab.write("200001")
    button(tab, "Delete 200,001 jobs", "dialog")
    tab.see("document.querySelector('dialog progress').value > 2000", within_s=60)
    button(tab, "Stop")
    tab.see("document.querySelector('#toasts').innerText", lambda text: "then stopped" in str(text))
    left = own_system.get("/dlq?limit=1").json()["total"]
    assert 0 < left < 198_001
    tab.see(f"{TEXT}.includes('of {left:,}')")


# ------------------------------------------------------------------------------------------------------- manners


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
    tab.see("document.querySelectorAll('figure').length", 2)
    tab.run("document.querySelector('figure svg').focus()")
    tab.press("ArrowLeft")
    tip = tab.see("document.querySelector('.tip').innerText", lambda text: "done" in str(text))
    assert re.match(r"\d\d:\d\d", tip)
    assert tab.run("document.querySelectorAll('figure table tbody tr').length") == 120
    tab.see(
        "[...document.querySelectorAll('figure:first-of-type td:nth-child(2)')].some(each => each.innerText === '1')"
    )


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


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1300, 360])
def test_axe_finds_no_serious_violation(lively: System, tab: Browser, dark: bool, width: int) -> None:
    found = importlib.util.find_spec("axe_core_python")
    if not found or not found.submodule_search_locations:
        pytest.skip("axe_core_python is in requirements-dev.txt")
    axe = (Path(found.submodule_search_locations[0]) / "axe.min.js").read_text()
    for view in pages(lively):
        show(tab, lively, view, width=width, dark=dark)
        tab.see(f"{TEXT}.length > 20")
        if view == "jobs":
            tab.click("tbody input")
        if view == "":
            tab.press("?")
        tab.run(axe + ";undefined")
        report = tab.run("axe.run({resultTypes: ['violations']})")
        bad = [
            (each["id"], [node["html"][:150] for node in each["nodes"][:3]])
            for each in report["violations"]
            if each["impact"] in ("serious", "critical")
        ]
        assert bad == [], view
        assert "color-contrast" in [
            each["id"] for each in report["passes"]
        ]  # a colour that it cannot read ends the rule
    tab.complaints.clear()  # that there is no job named none


# ------------------------------------------------------------------------------------------------------- its weight


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
    tab.loads.clear()
    show(tab, api)
    says(tab, "imports-2", "Finished per minute")
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


def test_all_that_the_page_imports_is_asked_for_at_once() -> None:
    needed, left = {"dashboard.js"}, ["dashboard.js"]
    while left:
        imported = re.findall(r"from '\./(.+)';$", (STATIC / left.pop()).read_text(), re.MULTILINE)
        left += set(imported) - needed
        needed |= set(imported)
    page = (STATIC / "index.html").read_text()
    assert sorted(re.findall(r'"modulepreload" href="/static/(.+)"', page)) == sorted(needed - {"dashboard.js"})
