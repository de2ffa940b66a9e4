"""The dashboard in a real browser: what one does with it."""

from __future__ import annotations

import pytest

from jobqueue import JobQueue, NewJob
from tests.harness import System, eventually
from tests.pages.browser import Browser
from tests.pages.dashboard import LIVE, ROWS, button, dead_letters, nothing_is_asked, says, show
from tests.played import Worker


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
    missing = "document.querySelector('dialog ol li:nth-child(7)').innerText"
    tab.see(missing, lambda text: "no worker serves the queue reports" in (text or ""))
    tab.see("document.title", lambda _: tab.complaints != [])  # of what was typed first
    assert all("422" in text for text in tab.complaints)
    tab.complaints.clear()
    assert whole.get("/schedules").json()["total"] == 0
    button(tab, "Save", "dialog")
    tab.see("document.getElementById('toasts').innerText", lambda text: text.startswith("Saved, but no worker serves"))
    says(tab, "nightly", "reports", "Every 2 hours", "in 1 h 59 min")
    button(tab, "Pause", "main")
    says(tab, "paused", "Resume")
    button(tab, "Resume", "main")
    tab.see("[...document.querySelectorAll('main button')].some(each => each.innerText === 'Pause')")
    button(tab, "Edit", "main")
    tab.see("document.querySelector('dialog textarea')?.value.includes('America/New_York')")
    tab.see(shown, lambda n: n == 7)  # the same here
    tab.run("document.querySelector('dialog textarea').select()")
    tab.write('{"every_s": 60, "type": "noop", "payload": 5}')
    button(tab, "Save", "dialog")
    says(tab, "Every minute")
    button(tab, "Run now", "main")
    eventually(lambda: whole.get("/jobs").json()["total"], equals=1)
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
    button(tab, "Add a filter")
    tab.write("tag:even")
    tab.press("Enter")
    tab.see(ROWS, 3)
    tab.click(".chips a[href*=done]")
    tab.see(ROWS, 2)
    assert tab.run("location.hash") == "#/jobs?tag=even&status=done"
    tab.call("Page.reload")
    tab.see(f"{LIVE} && {ROWS}", 2)
    assert tab.run("document.querySelector('.filters .tag').innerText") == "tag: even ×"
    assert tab.see("document.querySelector('.chips [aria-current]').innerText", lambda text: "\n" in text) == "done\n2"
    tab.run("history.back()")
    tab.see(ROWS, 3)
    tab.click(".filters .tag")
    tab.see(ROWS, 4)


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


@pytest.mark.long(4)
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


@pytest.mark.long(3)
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


def test_the_progress_of_a_tag_is_drawn_and_leads_to_its_jobs(system: System, tab: Browser) -> None:
    system.api()
    jobs = JobQueue(system.url)
    jobs.submit_many([NewJob(tags=["invoice:7"]) for _ in range(5)])
    hand = Worker(jobs)
    hand.give("done", 2)
    hand.give("failed")
    show(tab, system, "jobs?tag=invoice:7")
    says(tab, "3 of 5 have ended", "2 done", "1 failed", "2 queued")
    parts = "[...document.querySelectorAll('svg.tally rect')].map(each => each.getAttribute('class') + each.getAttribute('width'))"
    assert tab.run(parts) == ["done400", "failed200", "queued400"]
    hand.give("done")
    says(tab, "4 of 5 have ended", "3 done")
    tab.click(".counts a[href*=failed]")
    tab.see(ROWS, 1)
    assert tab.run("location.hash") == "#/jobs?tag=invoice%3A7&status=failed"
    says(tab, "4 of 5 have ended", "1–1 of 1")
    show(tab, system, "jobs")
    tab.see(ROWS, 5)
    assert tab.run("document.querySelector('svg.tally')") is None


def test_a_job_shows_how_its_webhook_was_told(system: System, tab: Browser) -> None:
    system.api()
    jobs = JobQueue(system.url)
    worker, hooks = Worker(jobs).handles("echo"), Worker(jobs, "hooks").handles("jobqueue.webhook")
    job = jobs.submit(webhook="https://hooks.example.org/jobs")
    show(tab, system, f"jobs/{job.id}")
    says(tab, "https://hooks.example.org/jobs", "It is told when the job has ended")
    worker.give("done")
    [delivery] = hooks.give("failed", kind="Retry", message="hooks.example.org answered 500")
    show(tab, system, f"jobs/{job.id}")
    says(tab, "done: failed", delivery[:8], "hooks.example.org answered 500")
    tab.click("section.panel header a[href*='status=failed']")
    says(tab, "given up", "hooks.example.org answered 500", delivery[:8])
    show(tab, system, f"jobs/{delivery}")
    says(tab, "Tells of", "Retry")
