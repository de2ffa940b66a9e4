"""The record on the dashboard: what is older than the queue remembers, where it came from, and what a text names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from _jobqueue.record.database import Record, open_record
from _jobqueue.record.row import Row
from jobqueue import JobQueue
from tests.harness import System
from tests.pages.browser import Browser
from tests.pages.dashboard import TEXT, says, show
from tests.record.rows import a_job, an_error, failed, rows_of

NAV = "document.querySelector('nav').innerText"


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Record]:
    record = open_record(f"sqlite:///{tmp_path / 'history.db'}")
    record.migrate()
    yield record
    record.close()


@pytest.fixture
def whole(system: System, record: Record, tmp_path: Path) -> System:
    system.api(HISTORY_URL=f"sqlite:///{tmp_path / 'history.db'}")
    return system


def follow(tab: Browser, text: str) -> None:
    """Click the link with that text."""
    find = f"[...document.querySelectorAll('main a')].find(each => each.innerText === {text!r})"
    tab.see(f"!!{find}")
    tab.run(f"{find}.click()")


def test_behind_the_last_page_the_list_goes_on_in_the_record(
    tab: Browser, whole: System, record: Record, queue: JobQueue
) -> None:
    now = queue.get(queue.submit("new.type").id)
    queue.cancel(now.id)
    old = failed(type="old.type", errors=[an_error(message="no luck")])
    record.write(rows_of(old, a_job(type="older.type", created_ms=5, finished_ms=9, started_ms=6), rev=1))
    show(tab, whole, "jobs")
    says(tab, "new.type")
    follow(tab, "Older, in the record")
    assert "new.type" not in says(tab, "From the record", "old.type", "older.type", "no luck", "1–2 in the record")
    follow(tab, "failed")
    tab.see(TEXT, lambda text: "older.type" not in text and "old.type" in text)


def test_a_job_from_the_record_says_so_and_can_only_be_deleted(tab: Browser, whole: System, record: Record) -> None:
    old = failed(type="old.type")
    record.write(rows_of(old))
    show(tab, whole, f"jobs/{old.id}")
    text = says(tab, "from the record", "old.type", "Delete")
    assert "Retry" not in text


def test_a_deleted_job_is_listed_without_its_content(tab: Browser, whole: System, record: Record) -> None:
    record.write([Row(a_job(type="old.type", payload="secret"), 1, deleted=True)])
    show(tab, whole, "history")
    assert "secret" not in says(tab, "old.type", "deleted")


def test_pages_of_the_record_lead_on(tab: Browser, whole: System, record: Record) -> None:
    record.write(rows_of(*(a_job(n, type=f"type-{n:02}") for n in range(60))))
    show(tab, whole, "history")
    says(tab, "type-59", "type-10", "1–50 in the record")
    follow(tab, "Next page")
    assert "type-10" not in says(tab, "type-09", "type-00", "51–60 in the record")


def test_a_search_shows_what_a_text_names_and_a_single_job_at_once(tab: Browser, whole: System, record: Record) -> None:
    old = a_job(type="old.type", tags=["red"])
    record.write(rows_of(old))
    whole.submit(type="new.type", tags=["red"], queue="red")
    show(tab, whole, "search?q=red")
    says(tab, "Tag", "Queue", "the queue", "the record")
    show(tab, whole, f"search?q={old.id[:8]}")
    says(tab, "from the record", old.id)
    show(tab, whole, "search?q=nothing")
    says(tab, "Nothing is called nothing")


def test_without_a_record_nothing_speaks_of_it(tab: Browser, system: System) -> None:
    system.api()
    system.submit(type="new.type")
    show(tab, system, "jobs")
    assert "record" not in says(tab, "new.type")
    assert "History" not in tab.run(NAV)


def test_a_record_that_is_away_is_said(tab: Browser, system: System, tmp_path: Path) -> None:
    system.api(HISTORY_URL=f"sqlite:///{tmp_path / 'none.db'}")
    system.submit(type="new.type")
    show(tab, system, "jobs")
    follow(tab, "Older, in the record")
    says(tab, "record's file cannot be opened")
    tab.complaints[:] = [each for each in tab.complaints if "503" not in each]
