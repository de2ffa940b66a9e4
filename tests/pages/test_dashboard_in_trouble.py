"""The dashboard in a real browser: it stays calm while the world below it does not."""

from __future__ import annotations

import json
import re

import pytest

from _jobqueue.keys import new_key
from _jobqueue.store.ids import new_id
from jobqueue import JobQueue, NewJob
from tests.harness import System, eventually
from tests.pages.browser import Browser
from tests.pages.dashboard import LIVE, ROWS, STATIC, TEXT, Q, button, dead_letters, polled_twice, says, show
from tests.played import Worker, now_ms

HOSTILE = "</script><img src=x onerror='window.caught=1'><b>bold</b>"


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


@pytest.mark.long(2)
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


@pytest.mark.long(5)
def test_redis_goes_away_and_comes_back(own_system: System, tab: Browser) -> None:
    own_system.api()
    own_system.worker("--threads", "1")
    own_system.reaper()
    own_system.ends(own_system.submit(1, type="noop"))
    show(tab, own_system, "jobs")
    tab.see("document.querySelector('#chip').innerText", "All clear")
    own_system.server.kill()
    tab.see("document.querySelector('#pulse').textContent", lambda text: re.fullmatch(r"data \d+ s old", text))
    assert "Redis" in tab.see("document.querySelector('#health .error').innerText", lambda text: text)
    assert tab.run(ROWS) == 1
    own_system.server.start()
    tab.see(LIVE, within_s=40)
    tab.see("document.querySelector('#chip').innerText", "All clear", within_s=40)
    assert all("503" in text for text in tab.complaints) and tab.complaints
    tab.complaints.clear()


def test_a_missing_worker_is_the_first_thing_one_sees(system: System, tab: Browser) -> None:
    system.api()
    system.reaper()
    system.submit(1)
    show(tab, system)
    tab.click("#health li:first-child .fold")
    sentence = "document.querySelector('#health .finding p').innerText"
    assert "no worker serves the queue default" in tab.see(sentence, lambda text: "worker" in str(text))
    tab.click("#health li a.button")
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


@pytest.mark.long(5)
def test_a_worker_of_several_queues_has_a_card_for_each(system: System, tab: Browser) -> None:
    system.api()
    system.worker("--queues", "default=2,email=2,reports=2")
    show(tab, system, "workers")
    cards = "[...document.querySelectorAll('.grid h2')].map(each => each.innerText.split(' ')[0]).sort()"
    tab.see(cards, ["default", "email", "reports"])
    polled_twice(tab)
    assert tab.run(cards) == ["default", "email", "reports"]


@pytest.mark.long(5)
def test_all_that_is_wrong_is_shown_each_thing_once(whole: System, tab: Browser) -> None:
    whole.post("/queues/default/pause")
    for name in ("one", "another", "a-third"):
        whole.submit(type=name)
    show(tab, whole)
    button(tab, "1 more", "#health")
    lines = "[...document.querySelectorAll('#health .short')].map(each => each.innerText)"
    seen = tab.see(lines, lambda found: len(found) == 4)
    polled_twice(tab)
    assert tab.run(lines) == seen == [each["short"] for each in whole.get("/stats").json()["health"]]


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
    says(tab, "no worker serves", "Copy as curl")
    assert "Cancel" not in tab.run("document.querySelector('main').innerText")  # that takes the scope admin
    assert all("401" in text for text in tab.complaints) and tab.complaints
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


@pytest.mark.long(25)
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
