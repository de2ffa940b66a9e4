"""The tables are made once, whoever comes first, and those of a later release are left alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from _jobqueue.record import schema
from _jobqueue.record.database import Record, open_record
from _jobqueue.record.errors import RecordTooNew, RecordUnavailable, RecordUrlWrong
from tests.postgres import Postgres
from tests.record.rows import a_job, rows_of


def test_several_programs_that_start_at_once_make_the_tables_once(history_url: str) -> None:
    def start(n: int) -> list[str]:
        record = open_record(history_url)
        try:
            return record.migrate()
        finally:
            record.close()

    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(start, range(8)))
    assert sorted(map(len, done)) == [0] * 7 + [len(schema.files("sqlite"))]


def test_tables_of_a_later_release_stop_whoever_writes_or_reads(record: Record, history_url: str) -> None:
    record._asked(lambda db: db.run("INSERT INTO jobqueue_schema (version, name) VALUES (9999, 'later')"))
    for read_only, call in ((False, Record.migrate), (True, lambda each: each.highest("default"))):
        opened = open_record(history_url, read_only=read_only)
        with pytest.raises(RecordTooNew, match="9999"):
            call(opened)  # type: ignore[operator]
        opened.close()


def test_a_file_that_fails_changes_nothing_and_is_tried_again(
    history_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = open_record(history_url)
    first.migrate()
    name = first._asked(lambda db: db.name)
    known = schema.files(name)
    bad = [*known, (2, "0002_bad", "CREATE TABLE more (x INTEGER);\nCREATE TABLE no no;\n")]
    good = [*known, (2, "0002_good", "CREATE TABLE more (x INTEGER);\n-- a comment;\nINSERT INTO more VALUES (1);\n")]
    monkeypatch.setattr(schema, "files", lambda database: bad)
    with pytest.raises(RecordUnavailable):
        first.migrate()
    monkeypatch.setattr(schema, "files", lambda database: good)
    reader = open_record(history_url, read_only=True)
    with pytest.raises(RecordUnavailable, match="earlier release"):
        reader.highest("default")
    assert first.migrate() == ["0002_good"]
    assert reader.highest("default") == 0
    reader.close(), first.close()


def test_a_table_that_is_somebody_elses_is_left_alone(history_url: str) -> None:
    other = open_record(history_url)
    other._asked(lambda db: db.run("CREATE TABLE job (theirs INTEGER)"), checked=False)
    with pytest.raises(RecordUnavailable):
        other.migrate()
    assert other._asked(lambda db: db.all("SELECT count(*) AS n FROM job"), checked=False) == [{"n": 0}]
    other.close()


def test_without_tables_a_writer_and_a_reader_say_what_to_do(history_url: str) -> None:
    for read_only in (False, True):
        opened = open_record(history_url, read_only=read_only)
        for call in (lambda each: each.highest("x"), lambda each: each.write(rows_of(a_job()))):
            with pytest.raises(RecordUnavailable, match=r"history\.py"):
                call(opened)
        opened.close()


@pytest.mark.parametrize("url", ["", "mysql://x", "sqlite:/x", "sqlite://", "sqlite:///", "redis://x", "history.db"])
def test_a_url_that_leads_nowhere_is_refused(url: str) -> None:
    with pytest.raises(RecordUrlWrong):
        open_record(url)


def test_an_absolute_and_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for url in ("sqlite:///a/b/here.db", f"sqlite:///{tmp_path}/there.db"):
        record = open_record(url)
        record.migrate()
        record.close()
    assert (tmp_path / "a/b/here.db").exists() and (tmp_path / "there.db").exists()


def test_a_file_that_is_no_database_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("these are my notes, and no database\n" * 50)
    record = open_record(f"sqlite:///{path}")
    with pytest.raises(RecordUnavailable):
        record.migrate()
    assert path.read_text().startswith("these are my notes")


def test_options_of_the_url_hold_beside_ours(own_postgres: Postgres) -> None:
    record = open_record(own_postgres.url)
    record._asked(lambda db: db.run("CREATE SCHEMA jobs"), checked=False)
    record.close()
    record = open_record(own_postgres.url + "?options=-csearch_path%3Djobs%20-cstatement_timeout%3D1")
    record.migrate()
    query = "SELECT table_schema FROM information_schema.tables WHERE table_name = 'job'"
    assert record._asked(lambda db: db.all(query)) == [{"table_schema": "jobs"}]
    assert record._asked(lambda db: db.all("SHOW statement_timeout")) == [{"statement_timeout": "30s"}]
    record.close()
