"""The dashboard with the keyboard alone, beyond rows and views: findings, pages, pauses, kinds, and where the focus goes."""

from __future__ import annotations

import pytest

from jobqueue import JobQueue
from tests.harness import System, eventually
from tests.pages.browser import Browser
from tests.pages.dashboard import LIVE, ROWS, dead_letters, says, show
from tests.played import Worker

FOCUSED = "document.activeElement.closest('tr')?.dataset.key"


@pytest.mark.long(2)
def test_pages_are_turned_with_n_and_p(whole: System, tab: Browser) -> None:
    dead_letters(whole, 120)
    show(tab, whole, "jobs?status=failed")
    says(tab, "1–50 of 120")
    tab.press("p")
    tab.press("n")
    says(tab, "51–100 of 120")
    tab.press("n")
    says(tab, "101–120 of 120")
    tab.press("n")
    tab.press("p")
    says(tab, "51–100 of 120")
    tab.press("p")
    says(tab, "1–50 of 120")
    assert tab.run("location.hash") == "#/jobs?status=failed"
    tab.press("n")
    says(tab, "51–100 of 120")
    tab.call("Page.reload")
    tab.see(f"{LIVE} && {ROWS}", 50)
    tab.press("p")  # where one came from is forgotten: the first page
    says(tab, "1–50 of 120")


def test_in_the_row_of_a_queue_p_pauses_it_and_lets_it_go_on(whole: System, tab: Browser) -> None:
    whole.ends(whole.submit(1, type="noop"))
    show(tab, whole, "queues")
    says(tab, "default", "Pause")
    tab.press("p")  # no row has the focus
    tab.press("j", "p")
    says(tab, "paused", "Resume")
    assert whole.get("/queues").json()["queues"][0]["paused"]
    assert tab.run(FOCUSED) == "default"
    tab.press("p")
    says(tab, "Pause")
    eventually(lambda: whole.get("/queues").json()["queues"][0]["paused"], equals=False)
    tab.press("?")
    told = tab.see("document.querySelector('dialog').innerText", lambda text: "p pauses it" in str(text))
    assert "refresh now" in told


def test_a_point_refreshes_at_once(whole: System, tab: Browser) -> None:
    show(tab, whole)
    tab.run("(document.querySelector('#every').value = '0', document.querySelector('#every').onchange())")
    tab.see("document.querySelector('#pulse').textContent", lambda text: text.startswith("data "))
    whole.ends(whole.submit(1, type="noop"))
    done = "document.querySelector('a.tile .done')?.closest('a').innerText"
    tab.press(".")
    tab.see(done, "done\n1")


def test_a_kind_is_retried_with_r_and_the_next_one_gets_the_focus(system: System, tab: Browser) -> None:
    system.api()
    for kind, n in (("Boom", 3), ("Bang", 2), ("Crash", 1)):
        dead_letters(system, n, kind)
    show(tab, system, "dead")
    tab.see(ROWS, 3)
    tab.press("j", "j")
    tab.see(FOCUSED, "Bang")
    tab.press("r")
    tab.see("document.querySelector('dialog h2')?.innerText", "Retry 2 jobs?")
    tab.press("Enter")
    tab.see(ROWS, 2)
    tab.see(FOCUSED, "Crash")
    tab.press("r")
    tab.see("document.querySelector('dialog h2')?.innerText", "Retry 1 job?")
    tab.press("Enter")
    tab.see(ROWS, 1)
    tab.see(FOCUSED, "Boom")
    tab.press("r")
    tab.see("document.querySelector('dialog h2')?.innerText", "Retry 3 jobs?")
    tab.press("Enter")
    says(tab, "No dead letters")
    tab.see("document.activeElement.id", "title")


HELD = """(() => {
  const ask = fetch;
  window.fetch = async (path, options) => {
    const answer = await ask(path, options);
    if (String(path).endsWith('/jobs/bulk') && !JSON.parse(options.body).dry_run) {
      await new Promise((go) => { window.release = go; });
    }
    return answer;
  };
})()"""


def test_the_next_row_gets_the_focus_though_its_row_left_behind_a_dialog(system: System, tab: Browser) -> None:
    """An action that takes longer has a dialog, under which the list goes on."""
    system.api()
    for kind, n in (("Boom", 2), ("Bang", 1)):
        dead_letters(system, n, kind)
    show(tab, system, "dead")
    tab.see(ROWS, 2)
    tab.run(HELD)
    for row, order, left, then in (
        ("Boom", "Retry 2 jobs?", 1, "document.activeElement.closest('tr')?.dataset.key === 'Bang'"),
        ("Bang", "Retry 1 job?", 0, "document.activeElement.id === 'title'"),
    ):
        tab.press(*"j"[:left])
        tab.see(FOCUSED, row)
        tab.press("r")
        tab.see("document.querySelector('dialog h2')?.innerText", order)
        tab.press("Enter")
        tab.see("document.querySelector('dialog h2')?.innerText", lambda text: str(text).startswith("Retry:"))
        tab.see(ROWS, left)
        tab.run("window.release()")
        tab.see("document.querySelector('dialog')", None)
        tab.see(then)


@pytest.mark.long(4)
def test_focus_moves_to_the_next_row_when_its_row_leaves(system: System, tab: Browser) -> None:
    system.api()
    dead_letters(system, 4)
    show(tab, system, "jobs?status=failed")
    tab.see(ROWS, 4)
    rows = tab.run("[...document.querySelectorAll('tbody tr')].map(each => each.dataset.key)")
    tab.press("j", "j")
    tab.see(FOCUSED, rows[1])
    system.post(f"/jobs/{rows[1]}/retry")
    tab.see(FOCUSED, rows[2])
    system.post(f"/jobs/{rows[2]}/retry")
    system.post(f"/jobs/{rows[3]}/retry")
    tab.see(ROWS, 1)
    tab.see(FOCUSED, rows[0])
    tab.press("Enter")
    says(tab, rows[0], "Attempt 1 failed")


def test_a_finding_is_unfolded_put_right_and_set_aside_without_a_mouse(system: System, tab: Browser) -> None:
    system.api()
    JobQueue(system.url).submit("mail", queue="shop")
    Worker(JobQueue(system.url), queue="shop").handles("mail").tend()
    system.post("/queues/shop/pause")
    show(tab, system)
    tab.see("document.querySelector('#health .fold')?.innerText", lambda text: "shop" in str(text))
    tab.run("document.querySelector('#every').focus()")
    tab.press("Tab", "Enter")
    tab.see("document.querySelector('#health .finding p').innerText", lambda text: "is paused" in str(text))
    tab.press("Tab")
    assert tab.run("document.activeElement.innerText") == "Resume"
    tab.press("Enter")
    eventually(lambda: system.get("/queues").json()["queues"][0]["paused"], equals=False)
