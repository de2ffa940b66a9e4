"""Databases that are full, read-only, locked, restarted; writers that are killed or meet each other."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from _jobqueue.listed import Filter
from _jobqueue.record.database import Record, open_record
from _jobqueue.record.errors import RecordUnavailable
from _jobqueue.record.row import Row
from tests import guard
from tests.harness import ROOT
from tests.postgres import Postgres
from tests.record.rows import a_job, an_error, failed, rows_of, waiting

HANGING = """
import sys, time
from _jobqueue.record import writes
from _jobqueue.record.database import open_record
from tests.record.rows import a_job, rows_of
record = open_record(sys.argv[1])
with record._transaction() as db:
    assert writes.put_all(db, rows_of(*(a_job(n) for n in range(10))), True) == []
    print("written", flush=True)
    time.sleep(600)
"""


def hanging(url: str) -> subprocess.Popen[bytes]:
    """A writer in the middle of its transaction."""
    started = guard.start([sys.executable, "-c", HANGING, url], stdout=subprocess.PIPE, cwd=ROOT)
    assert started.stdout and started.stdout.readline() == b"written\n"
    return started


def kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    guard.forget(process.pid)
    if process.stdout:
        process.stdout.close()


def test_a_writer_that_is_killed_in_its_transaction_has_written_nothing(record: Record, history_url: str) -> None:
    record.close()
    kill(hanging(history_url))
    assert record.find(Filter()).rows == [] and record.highest("default") == 0
    assert record.write(rows_of(a_job())) == []
    assert len(record.find(Filter()).rows) == 1


def test_readers_do_not_wait_for_a_writer(record: Record, reader: Record, history_url: str) -> None:
    job = a_job()
    record.write(rows_of(job))
    writer = hanging(history_url)
    began = time.monotonic()
    assert reader.get(job.id) == Row(job, 1)
    assert len(reader.find(Filter()).rows) == 1
    assert time.monotonic() - began < 5
    kill(writer)


def test_writers_that_meet_leave_the_newest_states_once_each(record: Record, history_url: str) -> None:
    jobs = [waiting(n, tags=["red"]) for n in range(40)]
    states = []
    for n, job in enumerate(jobs):
        once = replace(job, status="scheduled", attempts=1, errors=[an_error(1)])
        twice = replace(
            once, status="failed", attempts=2, errors=[an_error(1), an_error(2)], finished_ms=job.created_ms + 9
        )
        states += [Row(each, 3 * n + rev) for rev, each in enumerate((job, once, twice), 1)]

    def write(seed: int) -> None:
        own = open_record(history_url)
        order = states * 2
        random.Random(seed).shuffle(order)
        for at in range(0, len(order), 17):
            assert own.write(order[at : at + 17]) == []
        own.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    rows = record._asked(lambda db: db.all("SELECT status, rev FROM job ORDER BY rev"))
    assert [(row["status"], row["rev"]) for row in rows] == [("failed", 3 * n + 3) for n in range(40)]
    numbers = record._asked(lambda db: db.all("SELECT job_id, number, message FROM attempt"))
    assert len(numbers) == 80 and {row["message"] for row in numbers} == {"no 1", "no 2"}
    assert record.highest("default") == 120


def test_a_full_disk_is_no_refusal_and_what_it_kept_out_is_written_later(tmp_path: Path) -> None:
    record = open_record(f"sqlite:///{tmp_path / 'history.db'}")
    record.migrate()
    record._asked(lambda db: db.all("PRAGMA max_page_count = 60"))
    jobs = [a_job(n, payload="x" * 2000) for n in range(300)]
    with pytest.raises(RecordUnavailable):
        record.write(rows_of(*jobs))
    assert record.find(Filter()).rows == []
    assert record.write(rows_of(*jobs)) == []  # a new connection, without the limit
    record.close()


def test_a_file_that_may_only_be_read_is_told_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    record = open_record(f"sqlite:///{path}")
    record.migrate()
    record._asked(lambda db: db.all("PRAGMA query_only = 1"))
    with pytest.raises(RecordUnavailable):
        record.write(rows_of(a_job()))
    assert record.write(rows_of(a_job())) == []
    record.close()


def test_a_postgresql_that_may_only_be_read_is_no_refusal(own_postgres: Postgres) -> None:
    record = open_record(own_postgres.url)
    record.migrate()
    record.close()
    own_postgres.run("ALTER DATABASE postgres SET default_transaction_read_only = on")
    with pytest.raises(RecordUnavailable):
        record.write(rows_of(a_job()))
    own_postgres.run("SET default_transaction_read_only = off", "ALTER DATABASE postgres RESET ALL")
    assert record.write(rows_of(a_job())) == []
    record.close()


def test_a_postgresql_that_was_restarted_costs_one_call(own_postgres: Postgres) -> None:
    record = open_record(own_postgres.url)
    record.migrate()
    own_postgres.stop()
    for _ in range(2):
        with pytest.raises(RecordUnavailable):
            record.write(rows_of(a_job()))
    own_postgres.start()
    assert record.write(rows_of(a_job())) == []
    record.close()


def test_a_session_that_the_server_ends_costs_one_call(own_postgres: Postgres) -> None:
    record = open_record(own_postgres.url)
    record.migrate()
    record.write(rows_of(a_job()))
    own_postgres.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'jobqueue'")
    with pytest.raises(RecordUnavailable):
        record.highest("default")
    assert record.highest("default") == 1
    record.close()


def test_a_password_is_in_no_error(own_postgres: Postgres) -> None:
    url = own_postgres.url.replace("tests@", "nobody:very-secret@")
    with pytest.raises(RecordUnavailable) as raised:
        open_record(url).highest("default")
    assert "very-secret" not in str(raised.value) and "127.0.0.1" not in raised.value.public


def test_what_is_erased_is_not_in_the_file_any_more(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    record = open_record(f"sqlite:///{path}")
    record.migrate()
    small, large = failed(payload="secret-1", errors=[an_error(message="secret-2")]), a_job(payload="secret-3" * 5000)
    gone = a_job(payload="secret-4", tags=["gdpr"])
    record.write(rows_of(small, large, gone))
    record.close()
    assert all(f"secret-{n}".encode() in path.read_bytes() for n in (1, 2, 3, 4))
    record.erase_job(small.id), record.erase_job(large.id)
    assert record.erase(Filter(tag="gdpr"))[0] == 1
    record.close()
    assert b"secret" not in path.read_bytes()
