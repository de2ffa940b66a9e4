"""What the record keeps of jobs: the newest state, once, whatever is written twice or late."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from _jobqueue.record.database import Record, State, open_record
from _jobqueue.record.row import Row
from tests.record.rows import a_job, an_error, failed, rows_of, waiting


def rows(record: Record, query: str, *values: Any) -> list[dict[str, Any]]:
    """What a query of the tests' own says."""
    return record._asked(lambda db: db.all(query, values))


def numbers(record: Record) -> list[tuple[int, str]]:
    return [
        (row["number"], row["outcome"]) for row in rows(record, "SELECT number, outcome FROM attempt ORDER BY number")
    ]


def test_written_twice_is_there_once(record: Record) -> None:
    job = failed(tags=["red", "blue"])
    for _ in range(2):
        assert record.write(rows_of(job, rev=7)) == []
    assert [row["status"] for row in rows(record, "SELECT status FROM job")] == ["failed"]
    assert numbers(record) == [(1, "failed")]
    assert len(rows(record, "SELECT tag FROM job_tag")) == 2


def test_an_older_state_never_replaces_a_newer_one(record: Record) -> None:
    job = a_job()
    record.write([Row(job, 9)])
    record.write([Row(replace(job, status="failed", errors=[an_error()]), 8)])
    record.write([Row(replace(job, status="queued"), 9)])
    assert [(row["status"], row["rev"]) for row in rows(record, "SELECT status, rev FROM job")] == [("done", 9)]
    assert numbers(record) == [(1, "done")]


def test_of_one_call_the_newest_state_counts(record: Record) -> None:
    job = waiting()
    record.write([Row(replace(job, status="done"), 5), Row(job, 4)])
    assert [row["status"] for row in rows(record, "SELECT status FROM job")] == ["done"]


def test_the_highest_revision_is_known_for_each_queue_also_when_the_rows_have_gone(record: Record) -> None:
    assert record.highest("default") == 0
    record.write([Row(a_job(), 5), Row(a_job(queue="mail"), 9), Row(a_job(), 3)])
    assert (record.highest("default"), record.highest("mail"), record.highest("none")) == (5, 9, 0)
    record.write([Row(a_job(), 4)])
    assert record.highest("default") == 5


def test_attempts_are_numbered_over_the_whole_life_of_a_job(record: Record) -> None:
    job = waiting()
    one = replace(job, status="failed", attempts=1, errors=[an_error(1)], started_ms=1, finished_ms=2)
    again = replace(one, status="queued", attempts=0, finished_ms=None)
    two = replace(again, status="scheduled", attempts=1, errors=[an_error(1), an_error(2, attempt=1)])
    done = replace(two, status="done", attempts=2, started_ms=5000, finished_ms=6000)
    for rev, state in enumerate([job, one, again, two, done]):
        record.write([Row(state, rev)])
    assert numbers(record) == [(1, "failed"), (2, "failed"), (3, "done")]
    assert [row["attempt"] for row in rows(record, "SELECT attempt FROM attempt ORDER BY number")] == [1, 1, 2]


def test_attempts_that_redis_keeps_no_more_stay(record: Record) -> None:
    job = waiting(errors=[an_error(n) for n in (1, 2, 3)])
    record.write([Row(job, 1)])
    record.write([Row(replace(job, errors=[an_error(n) for n in (3, 4)], first_error=3), 2)])
    assert [number for number, _ in numbers(record)] == [1, 2, 3, 4]


def test_an_attempt_that_was_cancelled_while_it_ran_is_one_and_a_job_that_never_ran_has_none(record: Record) -> None:
    ran = a_job(status="cancelled", result=None)
    record.write(rows_of(ran, waiting(status="cancelled", finished_ms=5)))
    assert [(str(row["job_id"]), row["outcome"]) for row in rows(record, "SELECT job_id, outcome FROM attempt")] == [
        (ran.id, "cancelled")
    ]


def test_a_row_that_the_database_refuses_holds_up_no_other(record: Record, history_url: str) -> None:
    jobs = [a_job(n) for n in range(20)]
    refuse_type(record, "evil")
    jobs[3] = replace(jobs[3], type="evil")
    jobs[11] = replace(jobs[11], type="evil")
    refused = record.write(rows_of(*jobs))
    assert [job_id for job_id, _ in refused] == [jobs[3].id, jobs[11].id]
    assert all("we do not like" in reason for _, reason in refused)
    assert {str(row["id"]) for row in rows(record, "SELECT id FROM job")} == {job.id for job in jobs} - {
        jobs[3].id,
        jobs[11].id,
    }
    assert record.highest("default") == 20


def refuse_type(record: Record, name: str) -> None:
    """A trigger of the user's."""
    what = f"NEW.type = '{name}'"
    sqlite = [
        f"CREATE TRIGGER no BEFORE INSERT ON job WHEN {what} BEGIN SELECT RAISE(ABORT, 'we do not like it'); END",
    ]
    raising = "RAISE EXCEPTION 'we do not like it'"
    postgresql = [
        f"CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN IF {what} THEN {raising}; END IF; RETURN NEW; END$$",
        "CREATE TRIGGER no BEFORE INSERT ON job FOR EACH ROW EXECUTE FUNCTION no()",
    ]
    for statement in sqlite if record._asked(lambda db: db.name) == "sqlite" else postgresql:
        record._asked(lambda db, statement=statement: db.run(statement))


@pytest.mark.parametrize(
    "text", ["\0", "a\0b", "\\u0000", "\\\\u0000", "\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16")]
)
def test_any_text_can_be_kept(record: Record, text: str) -> None:
    job = failed(payload={text: [text]}, log=[text], errors=[an_error(message=text, traceback=text)])
    assert record.write(rows_of(job)) == []
    kept = record.get(job.id)
    assert kept is not None
    nul = "\ufffd" if record._asked(lambda db: db.name) == "postgresql" else "\0"
    shown = text.replace("\0", nul)
    assert kept.job.payload == {shown: [shown]}
    assert (kept.job.errors[0]["message"], kept.job.errors[0]["traceback"]) == (shown, shown)


def test_half_a_character_is_refused_and_not_the_rest(record: Record) -> None:
    bad, good = a_job(payload="\ud800"), a_job()
    assert [job_id for job_id, _ in record.write(rows_of(bad, good))] == [bad.id]
    assert record.get(good.id)


def test_payloads_need_not_be_stored(history_url: str, record: Record) -> None:
    bare = open_record(history_url, payloads=False)
    job = a_job()
    bare.write(rows_of(job))
    bare.close()
    [row] = rows(record, "SELECT CAST(payload AS TEXT) AS payload, CAST(result AS TEXT) AS result FROM job")
    assert row["payload"] is None and row["result"]


def test_a_deleted_job_leaves_a_row_without_content(record: Record) -> None:
    job = failed(payload="secret", log=["secret"], errors=[an_error(message="secret", traceback="secret")])
    record.write([Row(job, 1)])
    record.write([Row(job, 2, deleted=True)])
    unseen = failed(payload="secret", errors=[an_error(message="secret", traceback="secret")])
    record.write([Row(unseen, 3, deleted=True)])
    assert "secret" not in all_text(record)
    assert [row["deleted"] for row in rows(record, "SELECT deleted FROM job")] == [True, True]


def all_text(record: Record) -> str:
    return repr(rows(record, "SELECT * FROM job")) + repr(rows(record, "SELECT * FROM attempt"))


def test_a_job_is_erased_and_its_row_says_so(record: Record) -> None:
    job = failed(payload="secret", log=["secret"], errors=[an_error(message="secret", traceback="secret")])
    record.write(rows_of(job))
    assert record.erase_job(job.id) and not record.erase_job(job.id)
    assert not record.erase_job(a_job().id)
    assert "secret" not in all_text(record)
    assert [state.deleted for state in record.states("", 10)] == [True]


def test_all_jobs_are_given_page_by_page(record: Record) -> None:
    jobs = [a_job(n, queue="a" if n % 3 else "b") for n in range(30)]
    record.write(rows_of(*jobs))
    found, after = list[State](), ""
    while page := record.states(after, 7):
        found, after = found + page, page[-1].id
    assert found == sorted(State(job.id, job.queue, "done", n + 1, False) for n, job in enumerate(jobs))


def test_a_step_through_all_jobs_follows_an_index_and_sorts_nothing(tmp_path: Path) -> None:
    record = open_record(f"sqlite:///{tmp_path / 'history.db'}")
    record.migrate()
    run, asked = record._connected(False).all, list[str]()
    record._connection.all = lambda statement, values=(): asked.append(statement) or run(statement, values)  # type: ignore
    record.states("", 5)
    [plan] = run("EXPLAIN QUERY PLAN " + asked[0], ("", 5))
    assert "sqlite_autoindex_job_1 (id>?)" in plan["detail"]
    record.close()


def test_what_ended_long_ago_expires_in_bounded_steps(record: Record) -> None:
    old, now = 86_400_000 * 10, 86_400_000 * 400 * 365
    jobs = [a_job(created_ms=old, finished_ms=old, tags=["x"]) for _ in range(1500)]
    kept = [a_job(finished_ms=now), waiting(created_ms=old)]
    record.write(rows_of(*jobs, *kept))
    record.write([Row(waiting(created_ms=old), 9999, deleted=True)])
    assert record.expire(0) == 0
    steps = [record.expire(90) for _ in range(4)]
    assert steps == [1000, 500, 1, 0]
    assert {str(row["id"]) for row in rows(record, "SELECT id FROM job")} == {job.id for job in kept}
    assert not rows(record, "SELECT * FROM job_tag") and len(numbers(record)) == 1
    assert record.highest("default") == 9999


@pytest.mark.parametrize("after", [1, 2, 3])
def test_attempts_that_a_failover_has_undone_make_way_for_those_that_were(record: Record, after: int) -> None:
    job = waiting(errors=[an_error(1), an_error(2, message="lost"), an_error(3, message="lost")])
    record.write([Row(job, 1)])
    again = [an_error(n, at=f"2026-12-24T00:00:0{n}.000Z", message="again") for n in range(2, after + 1)]
    record.write([Row(replace(job, errors=[an_error(1), *again]), 2)])
    said = [row["message"] for row in rows(record, "SELECT message FROM attempt ORDER BY number")]
    assert said == ["no 1", *["again"] * (after - 1)]


def test_a_deleted_job_keeps_the_numbers_of_its_attempts(record: Record) -> None:
    job = failed(errors=[an_error(1), an_error(2)])
    record.write([Row(job, 1)])
    record.write([Row(replace(job, errors=[]), 2, deleted=True)])
    assert numbers(record) == [(1, "failed"), (2, "failed")]
