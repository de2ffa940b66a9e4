"""A random history of a queue is in SQL, field by field."""

from __future__ import annotations

import random
from typing import Any

import pytest

import history
from _jobqueue.record.database import Record
from _jobqueue.records import BACKOFF, IN_PLACE, NEVER, Held, Settlement
from jobqueue import Conflict, JobQueue, NewJob
from tests.harness import Server
from tests.played import Q, Worker, now_ms, tick
from tests.record.keeping import (
    as_if_not_claimed,
    attempts_in_redis,
    attempts_in_sql,
    history_of,
    in_redis,
    in_sql,
    until_quiet,
)
from tests.record.sameness import same


@pytest.mark.parametrize(
    "history_url", ["sqlite", pytest.param("postgresql", marks=pytest.mark.long(2))], indirect=True
)
@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.long(5)) for seed in (2, 3))])
def test_a_random_history_is_in_sql_field_by_field(
    seed: int, record: Record, history_url: str, queue: JobQueue, server: Server
) -> None:
    """All operations in any order, scripts among them that are sent twice, and a keeper that steps or dies at any time."""
    chance, hand, other = random.Random(seed), Worker(queue), Worker(queue, "other")
    keeper, deleted, trimmed = history_of(queue, record), set[str](), dict[str, dict[str, Any]]()
    ids: list[str] = []

    def submit() -> None:
        options = {"priority": chance.randrange(10), "tags": chance.sample(["a", "b", "c"], chance.randrange(3))}
        delay = {"delay_s": 60} if chance.random() < 0.3 else {}
        payload = chance.choice([None, "ä" * 5000, {"x": [1, 2.5, "\n"]}, 7])
        key = {"unique_key": chance.choice("uvw")} if chance.random() < 0.3 else {}
        new = queue.submit_many([NewJob(payload=payload, max_attempts=2, **options, **delay, **key)] * 3)  # type: ignore[arg-type]
        ids.extend(each.job.id for each in new if each.job)

    def claim() -> None:
        chance.choice([hand, other]).claim(chance.randrange(1, 4))

    def settle() -> None:
        worker = chance.choice([hand, other])
        running, worker.running = worker.running, []
        outcomes = ["done", "failed", "cancelled", "released"]
        ended = [
            Settlement(job.id, job.token, chance.choice(outcomes), chance.choice([BACKOFF, NEVER, IN_PLACE]), "K", "m")
            for job in running
        ]
        for _ in range(chance.choice([1, 1, 2])):
            worker.settle(*ended)

    def operate() -> None:
        action = chance.choice(["retry", "cancel", "delete", "run"])
        chosen = chance.sample(ids, min(len(ids), 3))
        there = in_redis(server)
        queue.act_on(action, chosen)
        if action == "delete":
            deleted.update((there.keys() & set(chosen)) - in_redis(server).keys())

    def time_passes() -> None:
        for index in ("scheduled", "leases"):
            for job_id in server.client.zrange(f"{Q}{index}", 0, 1):
                server.client.zadd(f"{Q}{index}", {job_id: now_ms(server) - 1})
        tick(queue)

    def trim() -> None:
        before = in_redis(server)
        tick(queue, retention_ms={chance.choice(["done", "failed", "cancelled"]): 0})
        trimmed.update({job: before[job] for job in before.keys() - in_redis(server).keys()})

    def renew() -> None:
        hand.beat(*[Held(job.id, job.token, 5000) for job in hand.running])

    def keep() -> None:
        nonlocal keeper
        if chance.random() < 0.2:  # it dies after it has written, before it confirms
            keeper._write("default", []) if not keeper.kept else record.write(rows_of(keeper))
            keeper = history_of(queue, record)
        else:
            keeper.step()

    moves = [submit, claim, settle, settle, operate, operate, time_passes, renew, keep, keep, trim]
    weights = [3, 5, 3, 3, 2, 2, 2, 1, 2, 2, 1]
    record.migrate()
    for _ in range(400):
        try:
            chance.choices(moves, weights)[0]()
        except Conflict:
            pass
    until_quiet(keeper)
    same(history_url, server)
    sql, redis = in_sql(history_url), in_redis(server)
    attempts, known = attempts_in_sql(history_url), attempts_in_redis(server)
    assert known and {each: attempts[each] for each in known} == known
    assert {job for job, number in attempts.keys() - known.keys()} <= deleted | trimmed.keys()
    assert {job for job, row in sql.items() if row["deleted"]} == deleted & sql.keys()
    assert deleted - sql.keys() == set(), "each deleted job has a row"
    assert all(as_if_not_claimed(sql[job]) == as_if_not_claimed(row) for job, row in trimmed.items())
    assert sql.keys() == redis.keys() | deleted | trimmed.keys() == set(ids)
    assert queue.check("default") == []
    assert not server.client.zcard(f"{Q}unsaved") and not server.client.keys(f"{Q}gone:*")


def rows_of(keeper: history.History) -> list[history.Row]:
    read = keeper.marks.read("default")
    return [history.Row(each.job, each.rev, each.deleted) for each in read.jobs if each.job]
