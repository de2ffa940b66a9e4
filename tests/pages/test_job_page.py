"""The page of one job: its time, its tree, its log, its tracebacks, and how a job is stopped or made once more."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from _jobqueue.log_lines import LogLines
from _jobqueue.records import Held
from jobqueue import JobQueue, NewJob
from tests.harness import System, eventually
from tests.pages.browser import Browser, browser
from tests.pages.dashboard import LIVE, TEXT, button, says, show
from tests.played import Worker, now_ms

ODD = ("--handlers", "tests.odd_handlers", "--threads", "2")


@pytest.fixture
def odd(system: System) -> System:
    """A worker whose handlers behave as handlers should not."""
    system.api()
    system.worker(*ODD)
    system.reaper()
    return system


def on_the_page(tab: Browser, system: System) -> None:
    """For a script that takes a module of the page alone: it does not matter what the page shows."""
    if not tab.run(f"location.href.startsWith({json.dumps(system.api_url)})"):
        show(tab, system)


def clicks(tab: Browser) -> None:
    """Count them from here on."""
    tab.run("(window.clicks = 0, document.addEventListener('click', e => { clicks += e.isTrusted }, true))")


# ------------------------------------------------------------------------------------------------------ a stuck job


@pytest.mark.long(6)
def test_a_stuck_job_is_found_and_stopped(odd: System, tab: Browser) -> None:
    """The handler heeds no cancel. Seven clicks: the list, its status, the job, twice a button and its confirmation."""
    queue = JobQueue(odd.url)
    stuck = queue.submit("spin", timeout_s=600, max_attempts=3).id
    queue.submit("say", 1)
    eventually(lambda: queue.get(stuck).status, equals="processing")
    show(tab, odd)
    clicks(tab)
    tab.click("nav a[href='#/jobs']")
    tab.click(".chips a[href*=processing]")
    tab.click(f"main a[href='#/jobs/{stuck}']")
    says(tab, "Attempt 1 of 3 has been running", "Cancel")
    assert "Stop now" not in tab.run(TEXT)
    button(tab, "Cancel", ".lead")
    button(tab, "Cancel the job", "dialog")
    assert re.search(r"cancelling since \d", says(tab, "cancelling since", "Stop now"))
    buttons = "[...document.querySelectorAll('.lead button')].map(each => each.innerText)"
    assert "Cancel" not in tab.run(buttons)
    assert queue.get(stuck).status == "processing"
    button(tab, "Stop now", ".lead")
    button(tab, "Stop the job", "dialog")
    says(tab, "Cancelled", "Asked to cancel by hand", "Stopped by hand", within_s=30)
    assert queue.get(stuck).status == "cancelled"
    assert tab.run("window.clicks") == 7


def test_the_second_press_of_c_stops(odd: System, tab: Browser) -> None:
    queue = JobQueue(odd.url)
    stuck = queue.submit("spin", timeout_s=600, max_attempts=3).id
    eventually(lambda: queue.get(stuck).status, equals="processing")
    show(tab, odd, f"jobs/{stuck}")
    says(tab, "has been running")
    for title in ("Cancel this job?", "Stop this job now?"):
        tab.press("c")
        tab.see("document.querySelector('dialog h2')?.innerText", title)
        tab.press("Enter")
        tab.see("document.querySelector('dialog') === null")
        says(tab, "by hand")
    says(tab, "Stopped by hand")
    eventually(lambda: queue.get(stuck).status, equals="cancelled", within_s=20)


# -------------------------------------------------------------------------------------------------------- the time

PARTS = "[...document.querySelectorAll('.timeline rect')].map(each => each.getAttribute('class'))"
WORDS = "[...document.querySelectorAll('.legend li')].map(each => each.innerText)"


def moved(system: System, job_id: str, now: int, **times: int) -> None:
    """Its times, in ms before now."""
    system.server.client.hset(f"jq:{{default}}:job:{job_id}", mapping={name: now - ago for name, ago in times.items()})


def test_the_bar_tells_how_long_it_waited_and_ran(system: System, tab: Browser) -> None:
    """Put off, waited, ran in vain, waited for its retry, waited, runs."""
    system.api()
    queue = JobQueue(system.url)
    hand = Worker(queue)
    job = queue.submit("echo", max_attempts=3)
    [claim] = hand.claim()
    hand.end("failed", claim, delay_ms=0)
    system.reaper()
    eventually(lambda: queue.get(job.id).status, equals="queued")
    hand.claim()
    now = now_ms(system.server)
    failed = f"{now - 80_000} 1 Boom - {now - 85_000}\nBoom: no"
    system.server.client.hset(f"jq:{{default}}:job:{job.id}", "error:1", failed)
    moved(system, job.id, now, created=100_000, due=20_000, started=12_000)
    show(tab, system, f"jobs/{job.id}")
    assert tab.see(PARTS, lambda found: len(found) == 5) == ["waited", "broke", "backoff", "waited", "running"]
    told = tab.run(WORDS)
    assert told[:4] == ["waited 15 s", "ran, failed 5 s", "waited to be retried 1 min", "waited 8 s"]
    assert re.fullmatch(r"running for 1\d s", told[4]) and re.fullmatch(r"1 min 4\d s in all", told[5])
    widths = tab.run(
        "[...document.querySelectorAll('.timeline rect')].map(each => parseFloat(each.getAttribute('width')))"
    )
    assert widths[2] > 3 * widths[0] > 6 * widths[1] and abs(sum(widths) - 100) < 1


@pytest.mark.parametrize(
    "job, parts",
    [
        ({"status": "scheduled", "run_at": "T11:00:00Z"}, [("delayed", 60)]),
        ({"status": "blocked", "after": ["x"]}, [("blocked", 60)]),
        ({"status": "done", "after": ["x"], "run_at": "T10:00:10Z", "from": 15, "to": 40}, [("blocked", 10), ("waited", 5), ("ran", 25)]),
        ({"status": "queued", "snoozes": 1, "snoozed_at": "T10:00:05Z", "run_at": "T10:00:30Z"}, [("waited", 5), ("snoozed", 25), ("waited", 30)]),
        ({"status": "failed", "runs": [(1, 2)]}, [("waited", 1), ("broke", 1)]),
        ({"status": "failed", "runs": [(0, 2), (10, 12)]}, [("broke", 2), ("backoff", 8), ("broke", 2)]),
        ({"status": "scheduled", "runs": [(0, 2)], "run_at": "T11:00:00Z"}, [("broke", 2), ("backoff", 58)]),
        ({"status": "queued", "runs": [(0, 2)], "retried": 20}, [("broke", 2), ("dead", 18), ("waited", 40)]),
        ({"status": "cancelled", "to": 20}, [("waited", 20)]),
        ({"status": "processing", "from": 10}, [("waited", 10), ("running", 50)]),
    ],
    ids=str,
)  # fmt: skip
def test_parts_of_a_life(api: System, tab: Browser, job: dict[str, Any], parts: list[tuple[str, int]]) -> None:
    """A minute after its submit at ten."""

    def at(second: int | None) -> str | None:
        return None if second is None else f"2026-01-01T10:00:{second:02}Z"

    day = "2026-01-01"
    given = job | {name: day + job[name] for name in ("run_at", "snoozed_at") if name in job}
    given |= {"created_at": at(0), "started_at": at(job.get("from")), "finished_at": at(job.get("to"))}
    given["errors"] = [{"started_at": at(begun), "at": at(end)} for begun, end in job.get("runs", [])]
    given["actions"] = [{"action": "retry", "at": at(job["retried"])}] if "retried" in job else []
    on_the_page(tab, api)
    script = f"""(async () => {{
        const {{partsOf}} = await import('/static/timeline.js');
        const parts = partsOf({json.dumps(given)}, Date.parse('2026-01-01T10:01:00Z'));
        return parts.map(({{kind, from, to}}) => [kind, (to - from) / 1000]);
    }})()"""
    assert [tuple(part) for part in tab.run(script)] == parts


# -------------------------------------------------------------------------------------------------------- the tree


@pytest.fixture(scope="module")
def large(api: System) -> str:
    """75 KB, 60 levels."""
    deep: Any = "the bottom"
    for _ in range(60):
        deep = [deep]
    rows = [{"sku": f"S-{n}", "price": n} for n in range(2000)]
    payload = {"rows": rows, "deep": deep, "text": "x" * 20_000, "odd key!": {"inside": 12345678901234567890}}
    assert len(json.dumps(payload)) > 75_000
    return api.submit(payload, type="nobody")


def test_a_tree_folds_and_copies_a_path(api: System, tab: Browser, large: str) -> None:
    tab.may_copy()
    show(tab, api, f"jobs/{large}")
    assert "12345678901234567890" in says(tab, "rows: [2,000]", "20,002 characters")
    assert "S-0" not in tab.run(TEXT)
    tab.click(".tree .fold[aria-label^='.rows: ']")
    says(tab, "1,950 more", '"S-0"', '"S-49"')
    tab.click(".tree .fold[aria-label^='.rows[49]: ']")
    tab.see(TEXT, lambda text: '"S-49"' not in text)
    tab.click(".tree .fold[aria-label^='.rows[49]: ']")
    says(tab, '"S-49"')
    tab.click(".tree .key[aria-label='Copy the path .rows[49].sku']")
    tab.see("document.querySelector('#toasts').innerText", lambda text: "Path copied" in text)
    assert tab.run("navigator.clipboard.readText()") == ".rows[49].sku"
    tab.click(".tree .key[aria-label='Copy the path .[\"odd key!\"].inside']")
    button(tab, "1,950 more", ".tree")
    says(tab, "1,750 more")
    tab.click(".tree .fold[aria-label^='.rows: ']")
    tab.see(TEXT, lambda text: "S-49" not in text)


@pytest.mark.long(5)
def test_a_tree_is_bounded_and_keeps_what_was_unfolded(api: System, tab: Browser, large: str) -> None:
    show(tab, api, f"jobs/{large}", width=360)
    button(tab, "Unfold", "main")
    tab.see("document.querySelectorAll('.tree .key').length", lambda n: n > 150)
    assert tab.run("document.querySelectorAll('main *').length") < 3000
    assert tab.run("document.documentElement.scrollWidth") <= 360
    button(tab, "Fold", "main")
    tab.see("document.querySelectorAll('.tree .key').length", 0)
    path = "."
    for _ in range(61):
        tab.click(f".tree .fold[aria-label^='{path}: ']")
        path = "." + ("deep" if path == "." else path[1:] + "[0]")
    says(tab, "the bottom")
    polls = "performance.getEntriesByType('resource').filter(each => each.name.endsWith('/explain')).length"
    tab.see(f"{polls} > {tab.run(polls) + 1}")
    assert "the bottom" in tab.run(TEXT)
    assert tab.run("document.documentElement.scrollWidth") <= 360


# --------------------------------------------------------------------------------------------------------- the log


def tell(queue: JobQueue, hand: Worker, log: LogLines) -> None:
    [claim] = hand.running
    fields = [part for pair in log.fields().items() for part in pair]
    hand.beat(Held(claim.id, claim.token, 600_000, fields))  # type: ignore[arg-type]


@pytest.mark.long(4)
def test_a_log_follows_its_end_and_says_what_is_not_kept(system: System, tab: Browser) -> None:
    system.api()
    queue = JobQueue(system.url)
    hand, log = Worker(queue, lease_ms=600_000), LogLines()
    job = queue.submit("echo", timeout_s=600)
    hand.claim()
    began = now_ms(system.server)
    for n in range(163):
        log.add(began + n, f"line {n}")
    tell(queue, hand, log)
    show(tab, system, f"jobs/{job.id}")
    says(tab, "63 earlier lines not kept", "line 63", "line 162")
    end = "(box => Math.round(box.scrollHeight - box.clientHeight - box.scrollTop))(document.querySelector('.log'))"
    top = "document.querySelector('.log').scrollTop"
    assert tab.run(f"{top} > 100")
    tab.see(end, 0)
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d\d\d", tab.run("document.querySelector('.log .at').innerText"))
    for n in range(163, 183):
        log.add(began + n, f"line {n}")
    tell(queue, hand, log)
    says(tab, "83 earlier lines not kept", "line 182")
    tab.see(end, 0)
    tab.run(f"{top} = 40")
    log.add(began + 999, "the last one")
    tell(queue, hand, log)
    says(tab, "the last one")
    assert tab.run(top) == 40


def test_a_log_of_the_release_before_is_read_without_times(api: System, tab: Browser) -> None:
    job_id = api.submit(1, type="nobody")
    api.server.client.hset(f"jq:{{default}}:job:{job_id}", "log", "one\ntwo")
    show(tab, api, f"jobs/{job_id}")
    text = says(tab, "one", "two")
    assert "not kept" not in text and tab.run("document.querySelectorAll('.log .at').length") == 0


# ---------------------------------------------------------------------------------------------- attempts and steps


def test_own_frames_of_a_traceback_are_stressed(odd: System, tab: Browser) -> None:
    queue = JobQueue(odd.url)
    job_id = queue.submit("raise", {"not": "one of them"}, max_attempts=2, backoff_s=0).id
    odd.ends(job_id, "failed")
    show(tab, odd, f"jobs/{job_id}")
    says(tab, "Attempt 1 failed", "Attempt 2 failed", "odd_handlers.py:")
    own = "[...document.querySelectorAll('.frame.own .where')].map(each => each.innerText)"
    [frame] = tab.run(own)
    assert re.fullmatch(r"odd_handlers\.py:\d+ in raises", frame)
    assert "attempts.py" in tab.run("document.querySelector('.frame:not(.own) b').innerText")
    tab.click("button[aria-label='Traceback of attempt 1']")
    tab.see(own, lambda found: len(found) == 2)
    tab.click("button[aria-label='Traceback of attempt 2']")
    tab.see(own, lambda found: len(found) == 1)


@pytest.mark.parametrize(
    "path, own",
    [
        ("/srv/app/tasks.py", True),
        ("C:\\\\app\\\\tasks.py", True),
        ("/srv/app/.venv/lib/python3.11/site-packages/requests/api.py", False),
        ("/usr/lib/python3.11/json/decoder.py", False),
        ("<frozen importlib._bootstrap>", False),
        ("/srv/jobqueue/_jobqueue/work/attempts.py", False),
    ],
)
def test_which_frames_are_ones_own(api: System, tab: Browser, path: str, own: bool) -> None:
    on_the_page(tab, api)
    script = f"""(async () => {{
        const {{trace}} = await import('/static/trace.js');
        return trace('t', 'Traceback:\\n  File "{path}", line 7, in f\\n    g()\\n    ~^^\\nBoom: no').innerHTML;
    }})()"""
    html = tab.run(script)
    assert ("frame own" in html) == own
    assert "<b>" in html and ":7</b>" in html and "~^^" not in html and "<p>Boom: no</p>" in html


def test_a_retry_by_hand_is_a_step_and_what_was_done_keeps_its_tracebacks(odd: System, tab: Browser) -> None:
    queue = JobQueue(odd.url)
    job_id = queue.submit("raise", {"not": "one of them"}, max_attempts=1).id
    odd.ends(job_id, "failed")
    odd.post(f"/jobs/{job_id}/retry")
    eventually(lambda: len(queue.get(job_id).errors), equals=2)
    odd.ends(job_id, "failed")
    # Once more, for a handler that gives back what it gets.
    odd.server.client.hset(f"jq:{{default}}:job:{job_id}", "type", "say")
    odd.post(f"/jobs/{job_id}/retry", {"payload": "good"})
    odd.ends(job_id, "done")
    show(tab, odd, f"jobs/{job_id}")
    text = says(tab, "Attempt 1 done")
    steps = [
        "Submitted",
        "Attempt 1 failed",
        "Retried by hand",
        "Attempt 1 failed",
        "with another payload",
        "Attempt 1 done",
    ]
    places = [text.index(steps[0])]
    for each in steps[1:]:
        places.append(text.index(each, places[-1] + 1))
    assert tab.run("document.querySelectorAll('.frame').length") == 0
    tab.click(".steps button[aria-expanded=false]")
    says(tab, "odd_handlers.py:")


# --------------------------------------------------------------------------------------------------- once more


def whole_job(system: System) -> dict[str, Any]:
    parent = system.submit(0, type="nobody")
    return {
        "type": "nobody",
        "queue": "default",
        "priority": 7,
        "payload": {"it's": [1, 12345678901234567890]},
        "max_attempts": 4,
        "timeout_s": 33.5,
        "backoff_s": 2,
        "max_backoff_s": 60,
        "jitter": 0.25,
        "unique_key": "order 1",
        "tags": ["a", "b:1"],
        "fair_key": "tenant",
        "limits": ["tenant:7"],
        "name": "n",
        "expires_s": 9000,
        "after": [parent],
        "when": "ended",
    }


def test_copy_as_curl_makes_the_same_job(api: System, tab: Browser) -> None:
    given = whole_job(api) | {"webhook": "https://hooks.example.org/x"}
    job_id = JobQueue(api.url).submit(**given).id
    tab.may_copy()
    show(tab, api, f"jobs/{job_id}")
    button(tab, "Copy as curl")
    tab.see("document.querySelector('#toasts').innerText", lambda text: "Command copied" in text)
    command = tab.run("navigator.clipboard.readText()")
    assert command.startswith(f"curl -s {api.api_url}/jobs ")
    body = re.search(r"-d '(.*)'$", command)
    assert body and json.loads(body[1].replace("'\\''", "'")) == given


def test_a_job_that_is_put_off_is_copied_with_its_time(api: System, tab: Browser) -> None:
    job_id = api.submit(1, type="nobody", delay_s=5000)
    show(tab, api)
    script = f"import('/static/again.js').then(({{sameJob}}) => sameJob({json.dumps(api.job(job_id))}))"
    assert tab.run(script)["run_at"] == api.job(job_id)["run_at"]


def test_a_job_as_a_template_fills_the_form(api: System, tab: Browser) -> None:
    given = {**whole_job(api), "unique_key": "another"}
    job_id = api.post("/jobs", given).json()["job_id"]
    show(tab, api, f"jobs/{job_id}")
    button(tab, "Use as template")
    says(tab, "Payload", "Of the template too", "jitter")
    tab.see("document.querySelector('textarea').value", lambda text: "12345678901234567890" in text)
    assert tab.run("location.hash") == f"#/create?from={job_id}"
    tab.run("document.querySelector('input[name=unique_key]').value = 'a third'")
    button(tab, "Submit", "main")
    other = tab.see("location.hash", lambda hash: hash.startswith("#/jobs/"))[7:]
    made = api.job(other)
    assert {name: made.get(name) for name in given} == given | {"unique_key": "a third"}


def test_run_again_makes_another_job_of_one_that_is_done(odd: System, tab: Browser) -> None:
    job_id = odd.submit({"n": 1}, type="say", tags=["red"])
    odd.ends(job_id)
    show(tab, odd, f"jobs/{job_id}")
    button(tab, "Run again")
    button(tab, "Submit a new job", "dialog")
    other = tab.see("location.hash", lambda hash: "/jobs/" in hash and job_id not in hash)[7:]
    says(tab, "Attempt 1 done")
    made = odd.job(other)
    assert (made["payload"], made["tags"], odd.job(job_id)["attempts"]) == ({"n": 1}, ["red"], 1)


# ---------------------------------------------------------------------------------------------------------- trouble


@pytest.mark.long(4)
def test_redis_restarts_while_a_job_is_shown(own_system: System, tab: Browser) -> None:
    own_system.api()
    own_system.worker(*ODD)
    own_system.reaper()
    queue = JobQueue(own_system.url)
    job_id = queue.submit("spin", timeout_s=600).id
    eventually(lambda: queue.get(job_id).status, equals="processing")
    show(tab, own_system, f"jobs/{job_id}")
    says(tab, "has been running")
    own_system.server.kill()
    tab.see("document.querySelector('#pulse').textContent", lambda text: text.startswith("data "))
    assert "has been running" in tab.run(TEXT)  # what was known stays
    own_system.server.start()
    tab.see(LIVE, within_s=40)
    button(tab, "Cancel", ".lead")
    button(tab, "Cancel the job", "dialog")
    says(tab, "cancelling since")
    assert all("503" in text for text in tab.complaints)
    tab.complaints.clear()


@pytest.fixture
def other_tab() -> Iterator[Browser]:
    with browser() as opened:
        yield opened


@pytest.mark.long(7)
def test_what_one_tab_does_the_other_shows(odd: System, tab: Browser, other_tab: Browser, tmp_path: Path) -> None:
    gate = str(tmp_path / "gate")
    job_id = odd.submit({"gate": gate}, type="hold.politely")
    eventually(lambda: odd.job(job_id)["status"], equals="processing")
    for each in (tab, other_tab):
        show(each, odd, f"jobs/{job_id}")
        says(each, "has been running")
    button(tab, "Cancel", ".lead")
    button(tab, "Cancel the job", "dialog")
    for each in (tab, other_tab):
        says(each, "Cancelled", "Asked to cancel by hand")
    buttons = "[...document.querySelectorAll('.lead button')].map(each => each.innerText)"
    assert tab.run(buttons) == other_tab.run(buttons) and "Retry" in tab.run(buttons)
    button(other_tab, "Retry", ".lead")
    says(tab, "Retried by hand")
    assert other_tab.complaints == []


def test_the_page_of_a_job_is_loaded_with_its_first_job(api: System, tab: Browser) -> None:
    loaded = "performance.getEntriesByType('resource').map(each => each.name.split('/').at(-1))"
    show(tab, api)
    assert not {"job.js", "tree.js", "workers.js"} & set(tab.run(loaded))
    job_id = JobQueue(api.url).submit_many([NewJob("nobody")])[0].job
    assert job_id
    tab.run(f"location.hash = '#/jobs/{job_id.id}'")
    says(tab, "nobody", "What happened")
    assert {"job.js", "tree.js", "log.js"} <= set(tab.run(loaded))
