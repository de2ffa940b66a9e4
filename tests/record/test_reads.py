"""What the record answers, and that it never takes long."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from _jobqueue.errors import Invalid
from _jobqueue.listed import Filter
from _jobqueue.record import reads
from _jobqueue.record.connection import Connection, TooSlow
from _jobqueue.record.database import Record, open_record
from _jobqueue.record.errors import RecordUnavailable
from _jobqueue.record.row import Row
from _jobqueue.records import PAGE_BYTES
from tests.record.rows import T0, a_job, an_error, failed, rows_of, waiting


def found(reader: Record, wanted: Filter | None = None, **more: Any) -> list[str]:
    """The ids of all pages."""
    ids, cursor = list[str](), None
    for _ in range(200):
        page = reader.find(wanted or Filter(), cursor=cursor, **more)
        ids += [row.job.id for row in page.rows]
        cursor = page.cursor
        if not cursor:
            return ids
    raise AssertionError("it never ends")


def test_a_job_is_read_as_it_was_written(record: Record, reader: Record) -> None:
    jobs = [
        a_job(payload={"z": [1, 2.5, None, True, 'ü\u2028"\\'], "a": {}}, tags=["b", "a"], log=["one", "two"]),
        failed(
            errors=[an_error(1), an_error(2, traceback=None, worker=None)], progress={"fraction": 0.5, "note": "half"}
        ),
        waiting(status="scheduled", run_at_ms=T0 + 7_000_000, priority=9, cancel_requested_ms=T0 + 1),
        a_job(payload=None, result=None),
        a_job(status="cancelled", result=None, attempts=0, started_ms=None),
        a_job(result=12345678901234567890, payload=1.5e300),
    ]
    record.write(rows_of(*jobs, rev=5))
    for rev, job in enumerate(jobs, 5):
        assert reader.get(job.id) == Row(job, rev)
    assert reader.get(a_job().id) is None
    assert reader.get("no id' OR 1=1 --") is None


def test_a_job_with_a_field_that_this_release_does_not_know_is_read(record: Record, reader: Record) -> None:
    job = a_job()
    record.write(rows_of(job))
    record._asked(lambda db: db.run("UPDATE job SET more = ?", ('{"colour": "red"}',)))
    assert reader.get(job.id) == Row(job, 1)


def test_each_filter_finds_its_jobs_newest_first(record: Record, reader: Record) -> None:
    mail = a_job(1, tags=["red"])
    other = a_job(2, type="report", queue="slow")
    dead = failed(3, tags=["red", "blue"], errors=[an_error(kind="KeyError")], finished_ms=T0)
    queued = waiting(4, tags=["red"])
    record.write(rows_of(queued, mail, dead, other))
    for wanted, expected in [
        (Filter(), [queued, dead, other, mail]),
        (Filter("done"), [other, mail]),
        (Filter("failed"), [dead]),
        (Filter("queued"), [queued]),
        (Filter("cancelled"), []),
        (Filter(type="email.send"), [queued, dead, mail]),
        (Filter(queue="slow"), [other]),
        (Filter(kind="KeyError"), [dead]),
        (Filter(kind="none"), []),
        (Filter(tag="red"), [queued, dead, mail]),
        (Filter("done", tag="red"), [mail]),
        (Filter("done", type="report"), [other]),
        (Filter("failed", "email.send", "default", "blue", "KeyError"), [dead]),
        (Filter(type="' OR 1=1 --"), []),
    ]:
        assert found(reader, wanted) == [job.id for job in expected], wanted


def test_since_and_until_are_of_the_end_or_the_submit(record: Record, reader: Record) -> None:
    jobs = [a_job(n, finished_ms=T0 + 100_000 - 1000 * n, tags=["red"]) for n in range(10)]
    record.write(rows_of(*jobs))
    created, ended = {"since_ms": T0 + 2000, "until_ms": T0 + 4000}, {"since_ms": T0 + 92_000, "until_ms": T0 + 94_000}
    assert found(reader, Filter(**created)) == [jobs[3].id, jobs[2].id]
    assert found(reader, Filter(tag="red", **created)) == [jobs[3].id, jobs[2].id]
    assert found(reader, Filter("done", **ended)) == [jobs[7].id, jobs[8].id]


@pytest.mark.parametrize(
    "wanted", [Filter(), Filter("done"), Filter(tag="red"), Filter(queue="a"), Filter("done", queue="a")]
)
def test_pages_are_disjoint_and_complete_also_among_jobs_of_one_moment(
    record: Record, reader: Record, wanted: Filter
) -> None:
    jobs = [a_job(n // 7, tags=["red"], queue="ab"[n % 2]) for n in range(60)]
    record.write(rows_of(*jobs))
    expected = {job.id for job in jobs if wanted.queue in (None, job.queue)}
    for limit in (1, 4, 7, 60, 200):
        ids = found(reader, wanted, limit=limit)
        assert len(ids) == len(set(ids)) and set(ids) == expected


@pytest.mark.parametrize(
    "cursor", ["h1", "h1-x", "h999999999999999-0190a0b0-0000-8000-8000-000000000001", "h5-' OR 1", "WzAse31d"]
)
def test_what_is_no_cursor_is_refused(reader: Record, cursor: str) -> None:
    with pytest.raises(Invalid):
        reader.find(Filter("done"), cursor=cursor)


@pytest.mark.parametrize("text", ["Grüße", 'a "quoted" \\ word', "100%", "under_score", "wow!", "line\nbreak"])
def test_a_text_is_found_wherever_it_stands_and_nothing_else(record: Record, reader: Record, text: str) -> None:
    there = [
        a_job(1, payload={"deep": [f"x {text} y"]}),
        a_job(2, result=[text]),
        failed(3, errors=[an_error(message=f"because of {text}.")]),
    ]
    record.write(rows_of(*there, a_job(4, payload="100x underXscore wow"), a_job(5, payload=None)))
    assert found(reader, text=text) == [job.id for job in there[::-1]]
    assert found(reader, Filter(type="report"), text=text) == []


def test_a_text_is_found_whatever_its_case(record: Record, reader: Record) -> None:
    job = a_job(payload="Some Words")
    record.write(rows_of(job))
    assert found(reader, text="some WORDS") == [job.id]


def test_a_page_that_finds_little_ends_soon_and_says_how_far_it_looked(
    record: Record, reader: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [a_job(n, status="done" if n else "queued") for n in range(100)]
    record.write(rows_of(*jobs))
    monkeypatch.setattr(reads, "FIRST_LOOK", 10)
    monkeypatch.setattr(reads, "LOOK_S", 0.0)
    page = reader.find(Filter("queued"))
    assert (page.rows, page.looked_to_ms) == ([], jobs[90].created_ms) and page.cursor


def test_lists_are_bounded_in_bytes_and_lead_on(record: Record, reader: Record) -> None:
    jobs = [
        a_job(
            n,
            payload="ü" * 5000,
            result="x" * 5000,
            log=["l" * 9000],
            status="done",
            errors=[an_error(message="\1" * 8000)],
        )
        for n in range(100)
    ]
    record.write(rows_of(*jobs))
    page = reader.find(Filter(), limit=100)
    size = sum(len(reads.to_json(row.job.as_dict()).encode()) for row in page.rows)
    assert 0.9 * PAGE_BYTES < size < PAGE_BYTES
    assert found(reader, limit=100) == [job.id for job in jobs[::-1]]
    [shown] = [row.job for row in page.rows[:1]]
    assert (shown.payload, shown.result) == (None, None)
    assert shown.previews == {"payload": '"' + "ü" * 1023, "result": '"' + "x" * 2047}
    assert set(shown.truncated) == {"payload", "result", "errors", "log"}


def test_a_listed_job_is_the_same_as_the_job_itself_where_it_is_small(record: Record, reader: Record) -> None:
    jobs = [a_job(1, tags=["a"], log=["x"]), failed(2, progress={"fraction": 0.1, "note": None}), waiting(3)]
    record.write(rows_of(*jobs))
    assert [row.job for row in reader.find(Filter()).rows] == jobs[::-1]


def test_what_is_not_stored_is_said_to_be_left_out(record: Record, reader: Record) -> None:
    job = a_job()
    record.write([Row(job, 1, deleted=True)])
    kept = reader.get(job.id)
    assert kept and kept.deleted and kept.job.truncated == ("payload",)
    [listed] = reader.find(Filter()).rows
    assert listed.deleted and listed.job.truncated == ("payload",)


def test_a_filter_is_erased_in_bounded_steps(record: Record, reader: Record) -> None:
    jobs = [failed(n, tags=["gdpr"]) for n in range(25)]
    kept = a_job()
    record.write(rows_of(kept, *jobs))
    erased, cursor = record.erase(Filter(tag="gdpr"), most=10)
    assert erased == 10
    while cursor:
        more, cursor = record.erase(Filter(tag="gdpr"), most=10, cursor=cursor)
        erased += more
    assert erased == 25
    assert found(reader) == [kept.id]
    assert reader.get(jobs[0].id) is None


def test_a_reader_changes_nothing(record: Record, reader: Record) -> None:
    job = a_job()
    record.write(rows_of(job))
    assert reader.get(job.id)
    with pytest.raises(RecordUnavailable):
        reader.write(rows_of(a_job()))
    with pytest.raises(RecordUnavailable):
        reader.erase_job(job.id)
    assert reader.get(job.id) == Row(job, 1)


def test_no_statement_of_a_reader_takes_much_longer_than_a_second(record: Record, reader: Record) -> None:
    forever = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) AS c FROM n"
    began = time.monotonic()
    with pytest.raises(RecordUnavailable, match="too long"):
        reader._asked(lambda db: db.all(forever))
    assert time.monotonic() - began < 10
    assert reader.find(Filter()).rows == []


@pytest.mark.long(2)
def test_a_page_over_many_jobs_that_do_not_match_is_answered_soon(record: Record, reader: Record) -> None:
    for _ in range(10):
        record.write(rows_of(*(a_job(n, payload="x" * 200) for n in range(2000))))
    began = time.monotonic()
    pages, cursor = 0, None
    while pages == 0 or cursor:
        cursor, pages = reader.find(Filter(), text="nowhere", cursor=cursor).cursor, pages + 1
    assert time.monotonic() - began < 20 and pages <= 20


@pytest.mark.parametrize(
    "wanted, index",
    [
        (Filter(), "job_created"),
        (Filter(queue="a"), "job_queue"),
        (Filter("queued", queue="a"), "job_queue"),
        (Filter("queued"), "job_created"),
        (Filter("done"), "job_finished"),
        (Filter("done", "a"), "job_finished"),
        (Filter("failed"), "job_failed"),
        (Filter("failed", "a", since_ms=T0, until_ms=T0 + 9), "job_failed"),
        (Filter("cancelled"), "job_cancelled"),
        (Filter(kind="a"), "job_kind"),
        (Filter("failed", kind="a", since_ms=T0), "job_kind"),
        (Filter(type="a"), "job_type"),
        (Filter(type="a", queue="a", until_ms=T0), "job_type"),
        (Filter(tag="a"), "job_tag"),
        (Filter("done", tag="a", since_ms=T0), "job_tag"),
    ],
)
def test_a_page_walks_one_index_and_sorts_no_more_than_jobs_of_one_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: Filter, index: str
) -> None:
    """On SQLite, which plans without looking at the data."""
    record = open_record(f"sqlite:///{tmp_path / 'history.db'}")
    record.migrate()
    db = record._connection
    assert db
    asked: list[tuple[str, Any]] = []
    monkeypatch.setattr(type(db), "all", lambda self, statement, values=(): asked.append((statement, values)) or [])
    for cursor in (None, f"h{T0}-{a_job().id}"):
        record.find(wanted, cursor=cursor)
    monkeypatch.undo()
    for statement, values in asked:
        plan = [row["detail"] for row in db.all(f"EXPLAIN QUERY PLAN {statement}", values)]
        assert index in plan[0], plan
        assert not any("USE TEMP B-TREE FOR ORDER BY" in line for line in plan), plan


def test_a_page_of_jobs_that_take_too_long_has_fewer_and_none_is_missing(
    record: Record, reader: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [a_job(n) for n in range(12)]
    record.write(rows_of(*jobs))
    step, listed = reads._Look._rows, reads.listed

    def slow_step(look: reads._Look, size: int) -> list[dict[str, Any]]:
        if size > 2:
            raise TooSlow
        return step(look, size)

    def slow_list(db: Connection, ids: Sequence[str]) -> list[Row]:
        if len(ids) > 1:
            raise TooSlow
        return listed(db, ids)

    monkeypatch.setattr(reads._Look, "_rows", slow_step)
    assert found(reader) == found(reader, limit=3) == [job.id for job in jobs[::-1]]
    monkeypatch.setattr(reads, "listed", slow_list)
    assert found(reader) == [job.id for job in jobs[::-1]]
    assert found(reader, Filter(type="email.send"), text="ada7@") == [jobs[7].id]
