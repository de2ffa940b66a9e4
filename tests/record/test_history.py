"""history.py: what Redis marks is in SQL, once, whatever dies or is away in between."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import history
from _jobqueue.record.database import Record, open_record
from _jobqueue.record.errors import RecordUnavailable
from _jobqueue.store.scripts import Script
from jobqueue import Filter, JobQueue, NewJob
from tests.harness import Server, System
from tests.played import Q, Worker, now_ms, snapshot, tick, total
from tests.record.keeping import (
    history_of,
    in_redis,
    in_sql,
    rows_in,
    until_quiet,
)
from tests.record.sameness import same


def test_a_job_is_in_sql_as_it_ended(record: Record, history_url: str, queue: JobQueue, server: Server) -> None:
    keeper = history_of(queue, record)
    until_quiet(keeper)
    queue.submit(payload={"n": 1}, tags=["a", "b"])
    until_quiet(keeper)
    hand = Worker(queue)
    [job_id] = hand.give("done")
    until_quiet(keeper)
    same(history_url, server)
    assert in_sql(history_url)[job_id]["status"] == "done"
    attempts = rows_in(history_url, "SELECT number, outcome, worker FROM attempt")
    assert attempts == [{"number": 1, "outcome": "done", "worker": "w"}]


def test_what_was_there_before_the_record_is_found(
    record: Record, history_url: str, queue: JobQueue, server: Server
) -> None:
    queue.submit_many([NewJob(payload=n) for n in range(700)])
    hand = Worker(queue)
    hand.give("done", 100)
    hand.give("failed", 100)
    until_quiet(history_of(queue, record))
    same(history_url, server)
    assert len(in_sql(history_url)) == 700


def test_a_second_start_writes_nothing_anew(record: Record, queue: JobQueue, server: Server) -> None:
    queue.submit_many([NewJob() for _ in range(300)])
    until_quiet(history_of(queue, record))
    highest = record.highest("default")
    until_quiet(history_of(queue, record))
    assert record.highest("default") == highest and not server.client.zcard(f"{Q}unsaved")


def test_a_deleted_job_is_erased_and_a_trimmed_one_is_kept(
    record: Record, history_url: str, queue: JobQueue, server: Server
) -> None:
    keeper, hand = history_of(queue, record), Worker(queue)
    jobs = queue.submit_many([NewJob(payload="s3cret") for _ in range(3)])
    ids = hand.give("done", 3)
    until_quiet(keeper)
    queue.delete(ids[0])
    until_quiet(keeper)
    tick(queue, retention_ms={"done": 0})
    until_quiet(keeper)
    assert not in_redis(server) and len(jobs) == 3
    sql = in_sql(history_url)
    assert [(sql[job]["deleted"], sql[job]["payload"]) for job in ids] == [(1, None), (0, "s3cret"), (0, "s3cret")]


def test_jobs_that_were_trimmed_while_the_database_was_away_are_written_later(
    record: Record, history_url: str, queue: JobQueue, server: Server
) -> None:
    keeper, hand = history_of(queue, record), Worker(queue)
    until_quiet(keeper)
    queue.submit_many([NewJob(payload=n) for n in range(20)])
    ids = hand.give("done", 20)
    before = in_redis(server)
    tick(queue, retention_ms={"done": 0})
    assert not in_redis(server)
    until_quiet(keeper)
    assert in_sql(history_url) == before and before.keys() == set(ids)


def test_over_http_a_deleted_job_is_gone_before_the_record_knows(
    record: Record, history_url: str, queue: JobQueue, system: System
) -> None:
    keeper, hand = history_of(queue, record), Worker(queue)
    until_quiet(keeper)
    system.api(HISTORY_URL=history_url)
    queue.submit_many([NewJob() for _ in range(2)])
    deleted, trimmed = hand.give("done", 2)
    until_quiet(keeper)
    queue.delete(deleted)
    assert in_sql(history_url)[deleted]["deleted"] == 0 and system.get(f"/jobs/{deleted}").status_code == 404
    until_quiet(keeper)
    assert system.get(f"/jobs/{deleted}").status_code == 404
    tick(queue, retention_ms={"done": 0})
    assert system.job(trimmed)["source"] == "history"


def test_payloads_may_be_left_out(history_url: str, queue: JobQueue) -> None:
    record = open_record(history_url, payloads=False)
    queue.submit(payload="s3cret")
    Worker(queue).give("done")
    until_quiet(history_of(queue, record))
    [job] = in_sql(history_url).values()
    assert (job["payload"], job["result"]) == (None, "a result")
    record.close()


# -------------------------------------------------------------------------------------------------------- what goes wrong


class Killed(BaseException):
    """The process is gone, before or after a call."""


def dies_at(monkeypatch: pytest.MonkeyPatch, keeper: history.History, step: int) -> None:
    """The ``step``-th call to Redis or SQL is the last; every other one is made, and its answer is lost."""
    left = [step // 2]

    def deadly(call: Callable[..., Any]) -> Callable[..., Any]:
        def called(*args: Any, **named: Any) -> Any:
            if left[0] > 0:
                left[0] -= 1
                return call(*args, **named)
            if step % 2:
                call(*args, **named)
            raise Killed

        return called

    for thing, names in (
        (keeper.marks, ("keep", "read", "confirm", "mark", "standing", "raise_above", "try_again")),
        (keeper.record, ("migrate", "highest", "write", "statuses", "expire")),
    ):
        for name in names:
            monkeypatch.setattr(thing, name, deadly(getattr(thing, name)))


def story(queue: JobQueue) -> None:
    hand = Worker(queue)
    queue.submit_many([NewJob(payload=n, tags=["t"]) for n in range(8)])
    hand.give("done", 2)
    hand.give("failed", 2)
    first = queue.page(Filter("queued")).jobs
    queue.cancel(first[0].id)
    queue.delete(first[1].id)


@pytest.mark.long(8)
def test_killed_at_any_call_the_same_rows_are_there(
    record: Record, history_url: str, queue: JobQueue, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F72: each step of a start and of what follows it is the last one once, before and after its call."""
    survived, step = False, 0
    while not survived:
        server.client.flushall()
        queue.register("default")
        for table in ("attempt", "job_tag", "job", "jobqueue_progress"):
            with record._transaction() as db:
                db.run(f"DELETE FROM {table}")
        story(queue)
        with monkeypatch.context() as patch:
            dying = history_of(JobQueue(server.url), record)
            dies_at(patch, dying, step)
            try:
                until_quiet(dying)
                Worker(queue, "x").give("done", 1)
                until_quiet(dying)
                survived = True
            except Killed:
                record.close()
        until_quiet(history_of(queue, record))
        same(history_url, server)
        assert len(in_sql(history_url)) == len(in_redis(server)) == 7
        rows = rows_in(history_url, "SELECT job_id, number, outcome FROM attempt")
        ended = {job: row for job, row in in_redis(server).items() if row["attempts"] and row["finished_at"]}
        assert len(rows) == len(ended) == len({str(row["job_id"]) for row in rows})
        assert not server.client.zcard(f"{Q}unsaved") and not server.client.keys(f"{Q}gone:*")
        step += 1
    assert step > 20, "it went through all of it"


def test_two_processes_write_the_same_rows(history_url: str, queue: JobQueue, server: Server) -> None:
    records = [open_record(history_url) for _ in range(2)]
    keepers = [history_of(JobQueue(server.url), record) for record in records]
    hand = Worker(queue)
    for round_ in range(20):
        queue.submit_many([NewJob(payload=round_) for _ in range(30)])
        hand.give("done", 20)
        for keeper in keepers:
            keeper.step()
        read = keepers[0].marks.read("default")
        keepers[1].step()
        keepers[0]._write("default", read.jobs)  # late
    for keeper in keepers:
        until_quiet(keeper)
    same(history_url, server)
    assert len(in_sql(history_url)) == 600
    for record in records:
        record.close()


def restored(server: Server, dump: dict[str, bytes]) -> None:
    """Redis has lost all changes since then."""
    raw = server_raw(server)
    raw.flushall()
    for key, value in dump.items():
        raw.restore(key, 0, value)


def server_raw(server: Server) -> Any:
    import redis

    return redis.Redis(port=server.port)


def dumped(server: Server) -> dict[str, bytes]:
    raw = server_raw(server)
    return {key.decode(): raw.dump(key) for key in raw.keys()}  # noqa: SIM118


@pytest.mark.parametrize("ahead_ms", [0, 3_600_000])
def test_after_a_failover_the_record_says_what_redis_says(
    ahead_ms: int, record: Record, history_url: str, queue: JobQueue, server: Server
) -> None:
    """Also when the new primary's clock is behind."""
    keeper, hand = history_of(queue, record), Worker(queue)
    until_quiet(keeper)
    server.client.hset(f"{Q}meta", "rev", (now_ms(server) + ahead_ms) * 1000)
    jobs = [each.job for each in queue.submit_many([NewJob(payload=n) for n in range(300)]) if each.job]
    until_quiet(keeper)
    before = dumped(server)
    hand.give("done", 50)
    hand.give("failed", 50)
    queue.delete(jobs[-1].id)
    lost = queue.submit()
    until_quiet(keeper)
    restored(server, before)
    queue.cancel(jobs[0].id)  # in the record it is done, with a greater revision
    until_quiet(keeper)
    same(history_url, server)
    sql = in_sql(history_url)
    assert sql[jobs[0].id]["status"] == "cancelled" and sql[jobs[-1].id]["deleted"] == 0
    assert [line.split()[2] for line in history.lost(queue, record)] == [lost.id]
    assert (queue.marks.read("default").rev or 0) > record.highest("default") - 1


def test_lost_jobs_are_named_after_redis_has_lost_all(
    record: Record, queue: JobQueue, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    keeper = history_of(queue, record)
    queue.submit_many([NewJob() for _ in range(3)])
    Worker(queue).give("done")
    until_quiet(keeper)
    assert history.check(queue, record) == 0
    server.client.flushall()
    assert history.check(queue, record) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and lines[1].endswith("is queued in the record, and Redis has lost it")
    queue.submit()
    until_quiet(keeper)
    assert history.check(queue, record) == 1


def test_a_job_that_cannot_be_read_or_written_holds_up_no_other(
    record: Record, history_url: str, queue: JobQueue, server: Server
) -> None:
    keeper = history_of(queue, record)
    record.migrate()
    refuse(record)
    until_quiet(keeper)
    jobs = [each.job.id for each in queue.submit_many([NewJob(type=f"t{n}") for n in range(10)]) if each.job]
    server.client.hset(f"{Q}job:{jobs[3]}", "payload", "{")
    until_quiet(keeper)
    assert in_sql(history_url).keys() == {*jobs} - {jobs[3], jobs[5]}
    backlog = queue.books("default").record
    assert backlog and (backlog.refused, backlog.size) == (2, 2)
    why = server.client.hgetall(f"{Q}aside")
    assert "cannot be read" in why[jobs[3]] and "no such type here" in why[jobs[5]]
    server.client.hset(f"{Q}job:{jobs[3]}", "payload", "{}")
    until_quiet(history_of(queue, record))  # a start tries again
    assert in_sql(history_url).keys() == {*jobs} - {jobs[5]}
    assert not keeper.step(), "what is set aside keeps nobody busy"


def refuse(record: Record) -> None:
    """The database takes no job of the type t5."""
    with record._transaction() as db:
        if db.name == "sqlite":
            db.run(
                "CREATE TRIGGER no_t5 BEFORE INSERT ON job WHEN NEW.type = 't5'"
                " BEGIN SELECT RAISE(ABORT, 'no such type here'); END"
            )
        else:
            db.run(
                "CREATE FUNCTION no_t5() RETURNS trigger AS $$ BEGIN RAISE EXCEPTION 'no such type here'; END $$"
                " LANGUAGE plpgsql"
            )
            db.run(
                "CREATE TRIGGER no_t5 BEFORE INSERT ON job FOR EACH ROW WHEN (NEW.type = 't5') EXECUTE FUNCTION no_t5()"
            )


def test_a_database_that_is_away_delays_nobody_and_is_told(
    record: Record, history_url: str, queue: JobQueue, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper, hand = history_of(queue, record), Worker(queue)
    until_quiet(keeper)

    def away(*args: object) -> list[tuple[str, str]]:
        raise RecordUnavailable("the record's database cannot be reached", "10.0.0.7:5432 refused")

    with monkeypatch.context() as patch:
        patch.setattr(record, "write", away)
        queue.submit_many([NewJob() for _ in range(5)])
        hand.give("done", 5)
        with pytest.raises(RecordUnavailable) as told:
            keeper.step()
        keeper._note_away(told.value)
    backlog = queue.books("default").record
    assert backlog and backlog.size == 5 and backlog.away == "the record's database cannot be reached"
    assert abs((backlog.away_ms or 0) - now_ms(server)) < 60_000 and "10.0.0.7" not in str(snapshot(server))
    until_quiet(keeper)
    backlog = queue.books("default").record
    assert backlog and (backlog.size, backlog.away_ms) == (0, None)
    same(history_url, server)


def test_above_its_bound_the_oldest_changes_are_given_up_and_found_again_at_a_start(
    record: Record, history_url: str, queue: JobQueue, server: Server
) -> None:
    keeper = history_of(queue, record, HISTORY_HOLD_MAX="1000")
    until_quiet(keeper)
    queue.submit_many([NewJob() for _ in range(1300)])
    keeper._note_away(RecordUnavailable("the record's database cannot be reached"))
    assert server.client.zcard(f"{Q}unsaved") == 1000 and total(queue, "unrecorded") == 300
    until_quiet(keeper)
    assert len(in_sql(history_url)) == 1000
    until_quiet(history_of(queue, record))
    assert len(in_sql(history_url)) == 1300


# ------------------------------------------------------------------------------------------------- beside programs before


@pytest.fixture
def old_scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], JobQueue]]:
    """A JobQueue whose scripts make no marks, as those of the release before."""
    folder = tmp_path / "lua"
    (folder / "parts").mkdir(parents=True)
    for path in Script.folder.rglob("*.lua"):
        text = path.read_text().replace("'rev'", "'no_such_field'")
        (folder / path.relative_to(Script.folder)).write_text(text)

    def old(url: str) -> JobQueue:
        jobs = JobQueue(url)
        with monkeypatch.context() as patch:
            patch.setattr(Script, "folder", folder)
            for name in (path.stem for path in folder.glob("*.lua")):
                assert jobs.store._scripts[name].text
        return jobs

    yield old


def test_what_an_old_worker_does_is_found_while_it_lives_and_once_after(
    record: Record,
    history_url: str,
    queue: JobQueue,
    server: Server,
    old_scripts: Callable[[str], JobQueue],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keeper, old = history_of(queue, record), Worker(old_scripts(server.url))
    queue.submit_many([NewJob() for _ in range(20)])
    until_quiet(keeper)
    keeper._compare_at = math.inf
    old.beat()  # it does not say that it marks
    ids = old.give("done", 5)
    until_quiet(keeper)
    assert [in_sql(history_url)[job]["status"] for job in ids] == ["queued"] * 5, "not yet"
    keeper._compare_at = 0  # a minute later
    until_quiet(keeper)
    same(history_url, server)
    old.give("failed", 5)
    assert old.presence.leave([old.talk.slot])
    keeper._compare_at = 0
    until_quiet(keeper)
    same(history_url, server)
    assert keeper._old == set()
