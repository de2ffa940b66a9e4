"""The judges of the mixture see what is wrong: each is shown a thing that must not be."""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.faults import soak
from tests.faults.ledger import Ledger, Run
from tests.faults.mix.flows import Flows, Member
from tests.faults.mix.limits import FAST, GATE, MOST, STARTS, Limits
from tests.faults.mix.load import Seen
from tests.faults.mix.outbox import Outbox
from tests.faults.mix.plain import Plain
from tests.faults.mix.record import Record
from tests.faults.mix.schedules import _problems
from tests.faults.mix.webhooks import Webhooks


def stage(**more: Any) -> Any:
    client = SimpleNamespace(scan_iter=lambda *args: [], scard=lambda key: 0, zcard=lambda key: 0)
    server = SimpleNamespace(client=client)
    return SimpleNamespace(server=server, operated=set(), deleted=set(), snoozed=set(), told={}, **more)


def ran(job_id: str, started: float, ended: float | None, attempt: int = 1) -> Run:
    return Run(job_id, attempt, 1, started, ended)


def judged_flow(child_began: float, *, when: str = "done", fails: Any = 0) -> list[str]:
    """A parent that runs from 1 to 2."""
    flows = Flows(stage(), "1")
    flows.flows = 1
    parent = Member("parent", fails, [], "done")
    flows.members = {"parent": parent, "child": Member("child", 0, [parent], when)}
    runs = {"parent": [ran("parent", 1, 2)], "child": [ran("child", child_began, child_began + 1)]}
    jobs = {name: {"status": "done"} for name in runs}
    return flows.judge(Seen(jobs, runs))


def test_a_child_that_began_before_its_parents_end_is_seen() -> None:
    assert judged_flow(2.5) == []
    assert judged_flow(1.5)
    assert judged_flow(2.5, fails="always"), "its parent has failed"
    assert judged_flow(2.5, fails=1), "its parent had another attempt to go"
    assert judged_flow(2.5, when="ended", fails="always") == []
    assert judged_flow(2.5, when="ended", fails=1)


def test_a_job_of_a_workflow_that_nobody_cancelled_is_seen() -> None:
    flows = Flows(stage(), "1")
    flows.flows, flows.members = 1, {"a": Member("a", 0, [], "done")}
    assert flows.judge(Seen({"a": {"status": "cancelled"}}, {}))
    flows.members["a"].cancelled_at.append(1.0)
    assert flows.judge(Seen({"a": {"status": "cancelled"}}, {})) == []


def judged_limits(at_once: int, started: list[int]) -> list[str]:
    limits = Limits(stage(), "1")
    limits.changes = 0
    jobs = {f"g{n}": {"limits": GATE} for n in range(at_once)}
    jobs |= {f"f{n}": {"limits": FAST, "started": str(at)} for n, at in enumerate(started)}
    runs = {f"g{n}": [ran(f"g{n}", 1, 2)] for n in range(at_once)}
    return limits.judge(Seen(jobs, runs))


def test_one_too_many_of_a_limit_is_seen() -> None:
    assert judged_limits(MOST, [1000] * STARTS) == []
    assert judged_limits(MOST + 1, [])
    assert judged_limits(0, [*[1000] * STARTS, 1999])
    assert judged_limits(0, [*[1000] * STARTS, 2001]) == []


def test_two_jobs_of_a_unique_key_at_once_are_seen(tmp_path: Path) -> None:
    def judged(began: float) -> list[str]:
        producer = SimpleNamespace(acked={1: "a", 2: "b"})
        plain = Plain(stage(producer=producer), "1", tmp_path, "")
        plain.bodies = {n: {"payload": {}, "unique_key": "u"} for n in (1, 2)}
        runs = {"a": [ran("a", 1, 2)], "b": [ran("b", began, began + 1)]}
        return plain.judge(Seen({name: {"status": "done"} for name in runs}, runs))

    assert judged(2.5) == [] and judged(1.5)


def test_what_a_schedule_did_wrong_is_seen() -> None:
    def judged(made: dict[str, int], *, last_due: int = 900_000, **counts: int) -> list[str]:
        schedule = {"rule": '{"anchor_ms": 0}', "last_due": str(last_due), **{k: str(n) for k, n in counts.items()}}
        return _problems("each-5-minutes", schedule, Counter(made))

    each = {"300000": 1, "600000": 1, "900000": 1}
    assert judged(each, fired=3) == []
    assert judged(each | {"600000": 2}, fired=4), "twice"
    assert judged({"300000": 1, "600000": 1}, fired=2), "one due time is gone"
    assert judged({"300000": 1, "600000": 1}, fired=2, missed=1), "one is missed, and none may be"
    assert judged(each, fired=4), "a job is gone"
    assert judged(each, fired=3, last_due=900_001)


def test_a_webhook_that_was_not_told_or_under_two_ids_is_seen() -> None:
    webhooks = Webhooks(stage(rng=None), "1")
    try:
        jobs = {"a": {"type": "noted", "status": "done", "webhook": "x"}}
        delivery = {"type": "jobqueue.webhook", "status": "failed"}
        assert webhooks.judge(Seen(jobs, {}))
        webhooks.moody.accepted["a"].add("one")
        assert webhooks.judge(Seen(jobs, {})) == []
        assert webhooks.judge(Seen(jobs | {"d": delivery}, {})), "given up, and nobody says why"
        webhooks.moody.accepted["a"].add("two")
        assert webhooks.judge(Seen(jobs, {}))
    finally:
        webhooks.close()


def test_what_the_record_lacks_or_has_twice_is_seen(tmp_path: Path) -> None:
    def judged(*statements: str) -> list[str]:
        with closing(sqlite3.connect(record.file)) as connection, connection:
            for statement in statements:
                connection.execute(statement)
        return record.judge(Seen({"a": {"status": "done", "attempts": "1"}}, {}))

    record = Record(stage(), "1", tmp_path, "sqlite")
    attempt = "INSERT INTO attempt VALUES ('a', {}, '{}')"
    assert judged(
        "CREATE TABLE job (id, status, deleted, attempts)", "CREATE TABLE attempt (job_id, number, outcome)"
    ), "no row"
    assert judged("INSERT INTO job VALUES ('a', 'done', 0, 1)"), "no attempt"
    assert judged(attempt.format(1, "done")) == []
    assert judged(attempt.format(2, "done")), "two successes"
    assert judged("DELETE FROM attempt WHERE number = 2", "UPDATE job SET status = 'failed'")
    assert judged("UPDATE job SET status = 'done'") == []
    assert judged("INSERT INTO job VALUES ('b', 'done', 0, 1)"), "a row of no job"


def test_a_row_of_the_outbox_that_became_two_jobs_or_none_is_seen(tmp_path: Path) -> None:
    outbox, row = Outbox(stage(), "1", tmp_path), {"payload": '{"outbox": 1}'}
    outbox.rows = 1
    assert outbox.judge(Seen({"a": row}, {})) == []
    assert outbox.judge(Seen({"a": row, "b": row}, {})) and outbox.judge(Seen({}, {}))


def test_the_ledger_keeps_the_runs_of_a_job_that_begins_anew() -> None:
    ledger = Ledger()
    try:
        ledger.path.write_text("start j 1 7 1.0\nend j 1 7 2.0\nstart j 1 7 3.0\n")
        assert [(run.started, run.ended) for run in ledger.runs()["j"]] == [(1.0, 2.0), (3.0, None)]
    finally:
        ledger.close()


def test_a_line_that_rises_is_seen_and_a_flat_one_is_not() -> None:
    flat = [(float(at), 50_000 + at % 7) for at in range(100)]
    rises = [(at, value + 200 * at) for at, value in flat]
    assert soak.judged({"RSS api, kB": flat}, 10)[1] == []
    assert soak.judged({"RSS api, kB": rises}, 10)[1]
    assert soak.judged({"RSS api, kB": [*rises[:50], *[(at, rises[50][1]) for at, _ in rises[50:]]]}, 60)[1] == []
