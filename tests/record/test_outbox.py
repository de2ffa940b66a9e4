"""outbox.py: each row of a committed transaction becomes one job, whatever dies in between (F73)."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import outbox
from _jobqueue.logs import Log
from _jobqueue.record.errors import RecordUnavailable
from _jobqueue.record.outbox import Outbox
from _jobqueue.record.postgres import PostgreSQL
from _jobqueue.record.sqlite import SQLite
from jobqueue import Filter, JobQueue, QueueFull, Unavailable
from outbox import Relay
from tests.harness import Server, eventually
from tests.played import Worker, tick
from tests.postgres import Postgres
from tests.record.keeping import rows_in

STEPS_MOST = 1000


def connected(url: str) -> Any:
    """As a program of a user's connects; ``with`` commits."""
    if url.startswith("sqlite"):
        return sqlite3.connect(url.removeprefix("sqlite:///"), timeout=30)
    import psycopg

    return psycopg.connect(url)  # type: ignore[arg-type]


def execute(url: str, statement: str, *rows: tuple[Any, ...]) -> None:
    connection = connected(url)
    place = "?" if url.startswith("sqlite") else "%s"
    with connection:
        for row in rows or [()]:
            connection.execute(statement.replace("?", place), row)
    connection.close()


def insert(url: str, *rows: tuple[Any, ...]) -> None:
    """Rows of (key, queue, type, payload, options)."""
    statement = "INSERT INTO jobqueue_outbox (key, queue, type, payload, options) VALUES (?, ?, ?, ?, ?)"
    execute(url, statement, *rows)


def some(n: int, queue: str = "default", first: int = 0) -> list[tuple[Any, ...]]:
    return [(f"{queue}:{each}", queue, "echo", str(each), None) for each in range(first, first + n)]


def relay_of(redis_url: str, url: str) -> Relay:
    return Relay(JobQueue(redis_url, timeout_s=1.0, retries=0), Outbox(url), Log("outbox"))


def until_quiet(relay: Relay) -> None:
    for _ in range(STEPS_MOST):
        if not relay.step():
            return
    raise AssertionError("it never comes to rest")


def until_left(relay: Relay, url: str, keys: list[str]) -> None:
    """PostgreSQL may learn a moment later that somebody who held rows has gone."""

    def look() -> list[str]:
        until_quiet(relay)
        return [row["key"] for row in left(url)]

    eventually(look, equals=keys)


def left(url: str) -> list[dict[str, Any]]:
    return rows_in(url, "SELECT key, error, unsure, tried_at FROM jobqueue_outbox ORDER BY id")


def payloads(jobs: JobQueue) -> list[Any]:
    """Of all jobs, each as often as there are jobs with it."""
    ids = [job.id for job in jobs.page(limit=200).jobs]
    return sorted(jobs.get(job_id).payload for job_id in ids)


@pytest.fixture
def box_url(history_url: str) -> str:
    """A database with the table."""
    if history_url.startswith("sqlite"):
        sqlite3.connect(history_url.removeprefix("sqlite:///")).execute("PRAGMA user_version = 1").connection.close()
    outbox = Outbox(history_url)
    outbox.create()
    outbox.close()
    return history_url


@pytest.fixture
def relay(box_url: str, server: Server) -> Iterator[Relay]:
    relay = relay_of(server.url, box_url)
    yield relay
    relay.outbox.close()


# ------------------------------------------------------------------------------------------------------- what it does


def test_rows_become_jobs_as_they_say(relay: Relay, box_url: str) -> None:
    options = json.dumps({"priority": "high", "tags": ["order:7"], "max_attempts": 7, "delay_s": 60})
    insert(box_url, ("a", "email", "receipt", '{"order": 7, "big": 12345678901234567890}', options), *some(1))
    execute(box_url, "INSERT INTO jobqueue_outbox (type) VALUES ('plain')")
    until_quiet(relay)
    jobs = {job.type: relay.jobs.get(job.id) for job in relay.jobs.page().jobs}
    receipt, plain = jobs["receipt"], jobs["plain"]
    assert receipt.payload == {"order": 7, "big": 12345678901234567890} and receipt.queue == "email"
    assert (receipt.tags, receipt.max_attempts, receipt.status) == (["order:7"], 7, "scheduled")
    assert (plain.queue, plain.payload) == ("default", None)
    assert len(jobs) == 3 and left(box_url) == []


def test_what_is_not_committed_is_not_sent(relay: Relay, box_url: str) -> None:
    insert(box_url, *some(1))
    connection = connected(box_url)
    connection.execute("INSERT INTO jobqueue_outbox (key, type, payload) VALUES ('x', 'echo', '7')")
    if box_url.startswith("sqlite"):  # there a relay waits for whoever writes
        connection.rollback()
    until_quiet(relay)
    connection.rollback()
    connection.close()
    until_quiet(relay)
    assert payloads(relay.jobs) == [0]


def test_rows_go_in_their_order_and_many_at_a_time(relay: Relay, box_url: str) -> None:
    insert(box_url, *some(150))
    steps = 1
    while relay.step():
        steps += 1
    assert steps == 3 and [job.payload for job in relay.jobs.page(limit=200).jobs] == list(range(150))


def test_a_claim_is_bounded_in_bytes(relay: Relay, box_url: str) -> None:
    insert(box_url, *((f"k{n}", "default", "echo", json.dumps("x" * 900_000), None) for n in range(9)))
    sizes = []
    for _ in range(3):
        claim = relay.outbox.claim()
        sizes.append(len(claim.ids))
        relay.outbox.settle(claim, [(row, outbox.Fate.SENT, "") for row in relay.outbox.take(claim)])
    assert sizes == [4, 4, 1]


REFUSED = [
    ("reserved", "default", "jobqueue.webhook", None, None),
    ("no name", "de fault", "echo", None, None),
    ("unknown", "default", "echo", None, '{"prio": 1}'),
    ("another", "default", "echo", None, '{"queue": "b"}'),
    ("priority", "default", "echo", None, '{"priority": 99}'),
    ("list", "default", "echo", None, "[]"),
    ("twice", "default", "echo", '{"a": 1, "a": 2}', None),
    ("large", "default", "echo", json.dumps("x" * 1_100_000), None),
    ("k" * 300, "default", "echo", None, None),
    ("deep", "default", "echo", "[" * 500 + "]" * 500, None),
    ("parent", "default", "echo", None, '{"after": ["0f8fad5b-d9cb-8000-a165-70867728950e"]}'),
]


def test_a_row_that_is_refused_stays_with_its_error_and_stops_nobody(relay: Relay, box_url: str) -> None:
    insert(box_url, *REFUSED, *some(3))
    until_quiet(relay)
    assert payloads(relay.jobs) == [0, 1, 2]
    rows = left(box_url)
    assert [row["key"] for row in rows] == [row[0] for row in REFUSED]
    assert all(row["error"] and row["tried_at"] is None for row in rows)
    assert "reserved" in rows[0]["error"] and "/options/prio" in rows[2]["error"]
    assert relay.outbox.waiting() == (0, len(REFUSED), 0)
    execute(box_url, "UPDATE jobqueue_outbox SET error = NULL, type = 'echo' WHERE key = 'reserved'")
    until_quiet(relay)
    assert relay.jobs.page().total == 4 and len(left(box_url)) == len(REFUSED) - 1


def test_a_payload_that_is_no_json_is_refused(relay: Relay, box_url: str) -> None:
    if not box_url.startswith("sqlite"):
        with pytest.raises(Exception, match="invalid input syntax for type json"):
            insert(box_url, ("bad", "default", "echo", "{", None))
        return
    insert(box_url, ("bad", "default", "echo", "{", None), ("raw", "default", "echo", b"\xff\x00", None), *some(1))
    insert(box_url, (b"\xff", "default", "echo", None, None), ("type", b"\xff", b"\xff", None, None))
    until_quiet(relay)
    rows = rows_in(box_url, "SELECT error FROM jobqueue_outbox ORDER BY id")
    assert payloads(relay.jobs) == [0] and len(rows) == 4
    assert all("/payload" in row["error"] for row in rows[:2]) and "/type" in rows[3]["error"]


def test_an_error_that_nobody_foresaw_stops_nobody(relay: Relay, box_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    insert(box_url, *some(3))
    submit = relay.jobs.submit_one

    def odd(job: Any, key: str | None = None) -> Any:
        if job.payload == 1:
            raise RuntimeError("odd")
        return submit(job, key)

    monkeypatch.setattr(relay.jobs, "submit_one", odd)
    until_quiet(relay)
    assert payloads(relay.jobs) == [0, 2] and [row["error"] for row in left(box_url)] == ["RuntimeError: odd"]


def test_a_key_that_was_used_for_another_job_is_refused(relay: Relay, box_url: str) -> None:
    relay.jobs.submit(payload="other", key="default:0")
    insert(box_url, *some(2))
    until_quiet(relay)
    assert [(row["key"], "used for another request" in row["error"]) for row in left(box_url)] == [("default:0", True)]


def test_a_full_queue_holds_up_no_other(relay: Relay, box_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "HOLD_S", (60.0, 60.0))
    full, submit, asked = True, relay.jobs.submit_one, Counter[str]()

    def bounded(job: Any, key: str | None = None) -> Any:
        asked[job.queue] += 1
        if full and job.queue == "full":
            raise QueueFull("no room", 1)
        return submit(job, key)

    monkeypatch.setattr(relay.jobs, "submit_one", bounded)
    insert(box_url, *some(120, "full"), *some(3))
    until_quiet(relay)
    assert payloads(relay.jobs) == [0, 1, 2] and asked["full"] == 1
    rows = left(box_url)
    assert len(rows) == 120 and not any(row["tried_at"] or row["error"] for row in rows)
    full = False
    relay._held.clear()
    until_quiet(relay)
    assert left(box_url) == [] and relay.jobs.page(Filter(queue="full")).total == 120


def test_a_row_that_was_tried_a_day_ago_is_not_sent(relay: Relay, box_url: str) -> None:
    insert(box_url, *some(3))
    long_ago = "2026-01-02T03:04:05.678Z"
    execute(box_url, f"UPDATE jobqueue_outbox SET tried_at = '{long_ago}' WHERE key = 'default:1'")
    until_quiet(relay)
    assert payloads(relay.jobs) == [0, 2]
    assert [(row["key"], row["unsure"], row["error"]) for row in left(box_url)] == [("default:1", 1, None)]
    assert relay.outbox.waiting() == (0, 0, 1)
    execute(box_url, "UPDATE jobqueue_outbox SET unsure = 0, tried_at = NULL")
    until_quiet(relay)
    assert payloads(relay.jobs) == [0, 1, 2] and left(box_url) == []


# --------------------------------------------------------------------------------------------------- what goes wrong


class Killed(BaseException):
    """The process is gone, before or after a call."""


def dies_at(monkeypatch: pytest.MonkeyPatch, relay: Relay, step: int) -> None:
    """The ``step // 2``-th call to Redis or SQL is the last; for an odd step it is made, and its answer is lost."""
    calls = [step // 2]

    def deadly(call: Callable[..., Any]) -> Callable[..., Any]:
        def called(*args: Any, **named: Any) -> Any:
            if calls[0] > 0:
                calls[0] -= 1
                return call(*args, **named)
            if step % 2:
                call(*args, **named)
            raise Killed

        return called

    monkeypatch.setattr(relay.jobs, "submit_one", deadly(relay.jobs.submit_one))
    for kind in (SQLite, PostgreSQL):
        for name in ("all", "run", "run_many"):
            monkeypatch.setattr(kind, name, deadly(getattr(kind, name)))


@pytest.mark.parametrize(
    "history_url", [pytest.param(each, marks=pytest.mark.long(4)) for each in ("sqlite", "postgresql")], indirect=True
)
def test_killed_at_any_call_there_is_one_job_a_row(
    box_url: str, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F73: each statement and each submit is the last one once, before and after it; a worker and a reaper go on in between."""
    survived, step = False, 0
    while not survived:
        server.client.flushall()
        execute(box_url, "DELETE FROM jobqueue_outbox")
        insert(box_url, *some(2), *some(1, "email", 2), REFUSED[0])
        dying = relay_of(server.url, box_url)
        with monkeypatch.context() as patch:
            dies_at(patch, dying, step)
            try:
                until_quiet(dying)
                survived = True
            except Killed:
                dying.outbox.close()
        done = [job.payload for job in dying.jobs.page().jobs if job.queue == "default"]
        Worker(dying.jobs).give("done", len(done))
        tick(dying.jobs, retention_ms={"done": 0})  # also when the job has come to its end, and was forgotten
        other = relay_of(server.url, box_url)
        until_left(other, box_url, ["reserved"])
        assert sorted(done + payloads(other.jobs)) == [0, 1, 2], step
        for each in (dying, other):
            each.outbox.close()
        step += 1
    assert step > 30, "it went through all of it"


def test_a_lost_answer_makes_no_second_job(relay: Relay, box_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    insert(box_url, *some(3))
    submit, lost = relay.jobs.submit_one, []

    def losing(job: Any, key: str | None = None) -> Any:
        submitted = submit(job, key)
        if not lost:
            lost.append(key)
            raise Unavailable("the answer is lost")
        return submitted

    monkeypatch.setattr(relay.jobs, "submit_one", losing)
    relay.step()
    assert [bool(row["tried_at"]) for row in left(box_url)] == [True, False, False], "nobody has tried the others"
    relay._held.clear()
    until_quiet(relay)
    assert payloads(relay.jobs) == [0, 1, 2] and left(box_url) == []


def test_what_was_tried_keeps_the_time_of_its_first_try(
    relay: Relay, box_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The day counts from there: the job may have been stored then."""
    insert(box_url, *some(1))

    def away(*_: Any) -> Any:
        raise Unavailable("away")

    monkeypatch.setattr(relay.jobs, "submit_one", away)
    relay.step()
    execute(box_url, "UPDATE jobqueue_outbox SET claim = NULL")
    [first] = left(box_url)
    relay._held.clear()
    relay.step()
    assert left(box_url) == [first] and first["tried_at"]


def test_a_job_that_is_not_confirmed_is_asked_for_again(
    relay: Relay, box_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert(box_url, *some(1))
    submit, confirmed = relay.jobs.submit_one, False

    def durable(job: Any, key: str | None = None) -> Any:
        return submit(job, key)._replace(unconfirmed="" if confirmed else "no replica")

    monkeypatch.setattr(relay.jobs, "submit_one", durable)
    relay.step()
    assert payloads(relay.jobs) == [0] and left(box_url)[0]["tried_at"]
    confirmed = True
    relay._held.clear()
    until_quiet(relay)
    assert payloads(relay.jobs) == [0] and left(box_url) == []


def test_told_to_stop_it_takes_back_its_marks_and_no_others(
    relay: Relay, box_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert(box_url, *some(5))
    now = "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')" if box_url.startswith("sqlite") else "now()"
    execute(box_url, f"UPDATE jobqueue_outbox SET tried_at = {now} WHERE key = 'default:4'")  # by another, before
    submit = relay.jobs.submit_one

    def last(job: Any, key: str | None = None) -> Any:
        if job.payload == 1:
            relay.stopping.set()
        return submit(job, key)

    monkeypatch.setattr(relay.jobs, "submit_one", last)
    relay.run()
    assert payloads(relay.jobs) == [0, 1]
    tried = [(row["key"], bool(row["tried_at"])) for row in left(box_url)]
    assert tried == [("default:2", False), ("default:3", False), ("default:4", True)]


def test_while_redis_is_away_nothing_is_marked(own_server: Server, box_url: str) -> None:
    relay = relay_of(own_server.url, box_url)
    own_server.kill()
    insert(box_url, *some(5))
    relay.step()
    tried = [row for row in left(box_url) if row["tried_at"]]
    assert len(tried) == 1
    insert(box_url, *some(2, "other"))
    with pytest.raises(Unavailable):
        relay.step()
    assert [row for row in left(box_url) if row["tried_at"]] == tried
    own_server.start()
    relay._held.clear()
    until_quiet(relay)
    assert len(payloads(relay.jobs)) == 7 and left(box_url) == []
    relay.outbox.close()


def test_several_relays_send_each_row_once(box_url: str, server: Server) -> None:
    """On SQLite one is meant to run; two do no harm either."""
    insert(box_url, *some(110))
    asked, relays, failures = list[str](), [relay_of(server.url, box_url) for _ in range(3)], list[BaseException]()
    together = threading.Barrier(3)

    def send(relay: Relay) -> None:
        submit = relay.jobs.submit_one

        def noted(job: Any, key: str | None = None) -> Any:
            asked.append(str(key))
            return submit(job, key)

        relay.jobs.submit_one = noted  # type: ignore[method-assign]
        together.wait(30)
        try:
            until_quiet(relay)
        except BaseException as error:
            failures.append(error)
        relay.outbox.close()

    threads = [threading.Thread(target=send, args=(relay,)) for relay in relays]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures
    until_quiet(relays[0])  # what one had locked while the others looked
    relays[0].outbox.close()
    assert payloads(relays[0].jobs) == list(range(110)) and left(box_url) == []
    if box_url.startswith("postgres"):
        assert Counter(asked).most_common(1)[0][1] == 1, "a row that one has, no other gets"


def test_rows_that_a_relay_holds_are_passed_over(box_url: str, server: Server) -> None:
    first, second = (relay_of(server.url, box_url) for _ in range(2))
    insert(box_url, *some(3))
    claim = first.outbox.claim()
    rows = first.outbox.take(claim)
    insert(box_url, *some(2, first=3))
    until_quiet(second)
    expected = [3, 4] if box_url.startswith("postgres") else [0, 1, 2, 3, 4]
    assert payloads(second.jobs) == expected and len(rows) == 3
    first.outbox.close()  # it dies
    until_left(second, box_url, [])
    assert payloads(second.jobs) == [0, 1, 2, 3, 4]
    second.outbox.close()


def test_a_database_that_restarts_costs_no_job_and_makes_none(
    own_postgres: Postgres, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the submit and the delete."""
    relay = relay_of(server.url, own_postgres.url)
    relay.outbox.create()
    insert(own_postgres.url, *some(5))
    settle = relay.outbox.settle

    def restarted(*args: Any) -> None:
        monkeypatch.setattr(relay.outbox, "settle", settle)
        own_postgres.stop()
        own_postgres.start()
        settle(*args)

    monkeypatch.setattr(relay.outbox, "settle", restarted)
    with pytest.raises(RecordUnavailable):
        relay.step()
    assert payloads(relay.jobs) == [0, 1, 2, 3, 4] and len(left(own_postgres.url)) == 5
    until_quiet(relay)
    assert payloads(relay.jobs) == [0, 1, 2, 3, 4] and left(own_postgres.url) == []
    relay.outbox.close()


def test_it_touches_nothing_of_a_file_that_is_not_ours(tmp_path: Any) -> None:
    missing = Outbox(f"sqlite:///{tmp_path}/folder/none.db")
    with pytest.raises(RecordUnavailable, match="no such file: it is your program's own database"):
        missing.create()
    assert not list(tmp_path.iterdir())
    file = tmp_path / "shop.db"
    connection = sqlite3.connect(file)
    connection.execute("CREATE TABLE orders (id INTEGER)")
    connection.close()
    ours = Outbox(f"sqlite:///{file}")
    with pytest.raises(RecordUnavailable, match="--create"):
        ours.claim()
    ours.create()
    with pytest.raises(RecordUnavailable, match="already exists"):
        ours.create()
    ours.close()
    connection = sqlite3.connect(file)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    connection.close()
