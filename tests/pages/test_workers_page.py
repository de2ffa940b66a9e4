"""The views of workers, workflows and webhooks."""

from __future__ import annotations

import pytest

from jobqueue import JobQueue, NewJob
from tests.harness import System, eventually
from tests.pages.browser import Browser
from tests.pages.dashboard import ROWS, TEXT, says, show
from tests.played import Worker, now_ms

CARDS = "[...document.querySelectorAll('.grid h2')].map(each => each.innerText)"


def card(queue: str) -> str:
    return (
        f"[...document.querySelectorAll('.grid section')].find(each => each.innerText.startsWith('{queue} ')).innerText"
    )


@pytest.mark.long(3)
def test_a_worker_of_several_queues_tells_what_it_does_in_each(system: System, tab: Browser) -> None:
    system.api()
    system.worker("--handlers", "tests.odd_handlers", "--queues", "default=2,email=3")
    queue = JobQueue(system.url)
    queue.submit_many([NewJob("say"), NewJob("say"), NewJob("fail", max_attempts=1)])
    running = queue.submit("spin", queue="email", timeout_s=600)
    eventually(lambda: queue.get(running.id).status, equals="processing")
    show(tab, system, "workers")
    [first, *_] = system.get("/workers").json()["workers"]
    says(tab, "1 worker, 1 of 5 threads busy")
    default = tab.see(card("default"), lambda text: "Done\n2" in text and "Failed\n1" in text)
    assert f"default on {first['host']}:{first['pid']}" in default and first["worker"][:8] in default
    assert "0 of 2 threads busy" in default and " cores" in default and "Up\n" in default
    email = tab.run(card("email"))
    assert "1 of 3 threads busy" in email and "Done\n0" in email and "spin" in email
    assert tab.run("document.querySelector('nav [aria-current] .count').innerText") == "1"


def test_job_and_worker_lead_to_each_other(system: System, tab: Browser) -> None:
    system.api()
    for _ in range(2):
        system.worker("--handlers", "tests.odd_handlers", "--threads", "1")
    queue = JobQueue(system.url)
    job_id = queue.submit("spin", timeout_s=600).id
    eventually(lambda: queue.get(job_id).worker is not None)
    worker = queue.get(job_id).worker
    show(tab, system, "workers")
    tab.see(CARDS, lambda found: len(found) == 2)
    tab.click(f".grid a[href='#/jobs/{job_id}']")
    host = system.get("/workers").json()["workers"][0]["host"]
    says(tab, "has been running", f" on {host}:")
    tab.click("dl a[href^='#/workers']")
    tab.see(CARDS, lambda found: len(found) == 1)
    assert tab.run("location.hash") == f"#/workers?worker={worker}"
    says(tab, "spin", "Show all workers")
    tab.run("[...document.querySelectorAll('main a')].find(each => each.innerText === 'Show all workers').click()")
    tab.see(CARDS, lambda found: len(found) == 2)


def test_a_worker_that_has_left_says_so(api: System, tab: Browser) -> None:
    show(tab, api, "workers?worker=abcdefghijklmnop")
    says(tab, "It is not there any more", "abcdefgh has left")


def test_a_lost_worker_lists_no_job_that_was_taken_back(system: System, tab: Browser) -> None:
    system.api()
    queue = JobQueue(system.url)
    hand = Worker(queue, "silent")
    queue.submit("echo")
    hand.claim()
    hand.beat()
    system.server.client.zadd("jq:{default}:workers", {"silent": now_ms(system.server) - 40_000})
    show(tab, system, "workers")
    text = says(tab, "beat lost", "Not heard of for 4", "taken back", "0 workers", "1 lost")
    assert "threads busy" not in text.split("beat lost")[1] and tab.run(ROWS) == 0


def test_a_worker_over_http_shows_what_it_runs(api: System, tab: Browser) -> None:
    job_id = api.submit(1, type="over.http", queue="http", timeout_s=600)
    claim = {"worker": "shell-1", "types": ["over.http"], "lease_s": 600}
    assert api.post("/queues/http/claim", claim).json()["jobs"][0]["job_id"] == job_id
    show(tab, api, "workers")
    text = says(tab, "http over HTTP from", "shell-1", "over.http", "1 of 1 thread busy")
    assert "Done" not in text
    tab.click(f".grid a[href='#/jobs/{job_id}']")
    says(tab, "has been running", "shell-1"[:8])


def test_the_newest_workflows_are_listed_with_how_far_they_are(system: System, tab: Browser) -> None:
    system.api()
    show(tab, system, "flows")
    says(tab, "No workflows")
    queue = JobQueue(system.url)
    parts = [NewJob("part", name=f"n{n}") for n in range(3)]
    rows = queue.submit_many([*parts, NewJob("sum", after=["*"], name="all")])
    queue.submit("alone")
    hand = Worker(queue)
    hand.give("done")
    hand.give("failed")
    show(tab, system, "flows")
    text = says(tab, "all", "sum", "1 done", "1 failed", "1 queued", "1 blocked")
    assert tab.run(ROWS) == 1 and "alone" not in text
    widths = "[...document.querySelectorAll('.tally rect')].map(each => each.getAttribute('class') + each.getAttribute('width'))"
    assert tab.run(widths) == ["done250", "failed250", "queued250", "blocked250"]
    assert rows[3].job
    tab.click(f"main a[href='#/jobs/{rows[3].job.id}']")
    says(tab, "Workflow", "4 jobs", "which is a dead letter")


def test_older_workflows_are_on_further_pages(system: System, tab: Browser) -> None:
    system.api()
    pairs = [(NewJob("part", name=f"n{n}"), NewJob("whole", name=f"w{n}", after=[f"n{n}"])) for n in range(23)]
    JobQueue(system.url).submit_many([job for pair in pairs for job in pair])
    names = "[...document.querySelectorAll('#main tbody strong')].map(each => each.textContent)"
    show(tab, system, "flows")
    first = tab.see(names, lambda shown: len(shown) == 20)
    tab.press("n")
    rest = tab.see(names, lambda shown: len(shown) == 3)
    assert {*first, *rest} == {f"w{n}" for n in range(23)}
    tab.press("p")
    assert tab.see(names, lambda shown: len(shown) == 20) == first
    says(tab, "The newest first", "Older workflows")


def test_webhooks_have_a_place_of_their_own(system: System, tab: Browser) -> None:
    system.api()
    queue = JobQueue(system.url)
    worker, hooks = Worker(queue).handles("echo"), Worker(queue, "hooks").handles("jobqueue.webhook")
    job = queue.submit("echo", webhook="https://hooks.example.org/jobs")
    show(tab, system, "webhooks")
    says(tab, "None is given up")
    worker.give("done")
    [delivery] = hooks.give("failed", kind="Retry", message="hooks.example.org answered 500")
    says(tab, "hooks.example.org answered 500", "https://hooks.example.org/jobs", job.id[:8], delivery[:8])
    tab.see("document.querySelector('nav [aria-current] .count').innerText", "1")
    tab.see("document.querySelector('.chips [aria-current] .count').innerText", "1")
    tab.click(".chips a[href$=done]")
    says(tab, "None is told")
    tab.run("history.back()")
    tab.click(f"main a[href='#/jobs/{job.id}']")
    says(tab, "Webhook", "given up", delivery[:8])


def test_the_new_views_have_keys(api: System, tab: Browser) -> None:
    show(tab, api)
    for letter, view in (("f", "flows"), ("b", "webhooks"), ("w", "workers")):
        tab.press("g", letter)
        tab.see("location.hash", f"#/{view}")
        tab.see(f"{TEXT}.length > 10")
