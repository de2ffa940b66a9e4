"""What people and Prometheus are told of changes that wait for the record."""

from __future__ import annotations

import re

import pytest

from _jobqueue.store.unsaved import Marks
from _jobqueue.web.metrics import as_prometheus
from jobqueue import JobQueue
from tests.harness import Server
from tests.http.overviews import findings, text_of
from tests.played import Q, Worker, now_ms, tick

MINUTE_MS = 60_000


@pytest.fixture
def marks(queue: JobQueue, worker: Worker) -> Marks:
    """A queue in which nothing is wrong, and of which a record is kept."""
    queue.register("default")
    queue.marks.keep("default", 1000)
    queue.marks.read("default")
    worker.tend()
    return queue.marks


def older(server: Server, ms: int) -> None:
    """What waits for the record was marked so long ago."""
    for job_id, rev in server.client.zrange(f"{Q}unsaved", 0, -1, withscores=True):
        server.client.zadd(f"{Q}unsaved", {job_id: int(rev) - 1000 * ms})


def test_nothing_is_said_while_the_record_is_kept(queue: JobQueue, marks: Marks) -> None:
    queue.submit()
    assert findings(queue) == []


def test_nothing_is_said_where_none_is_kept(queue: JobQueue, worker: Worker) -> None:
    queue.submit()
    worker.tend()
    assert findings(queue) == [] and not [name for name in metrics(queue) if "record" in name]


def test_a_process_that_is_gone_is_missed(queue: JobQueue, marks: Marks, server: Server) -> None:
    queue.submit()
    server.client.hset(f"{Q}meta", "history", f"{now_ms(server) - MINUTE_MS} ")
    older(server, 10 * MINUTE_MS)
    assert findings(queue) == [("record_behind", None)]
    said = text_of(queue, "record_behind")
    assert said.startswith("No process keeps the record; waiting: 1 change, the first for 10 min. Start one")


def test_a_process_that_is_too_slow_is_told(queue: JobQueue, marks: Marks, server: Server) -> None:
    queue.submit(), queue.submit()
    older(server, MINUTE_MS - 5000)
    assert findings(queue) == []
    older(server, MINUTE_MS)
    assert re.match(
        r"The record is behind; waiting: 2 changes, the first for 1[12]\d s\. Start", text_of(queue, "record_behind")
    )


def test_a_database_that_is_away_is_told_with_how_many_and_since_when(
    queue: JobQueue, marks: Marks, server: Server
) -> None:
    queue.submit()
    marks.read("default", f"{now_ms(server) - 5 * MINUTE_MS} the record's database cannot be reached", most=0)
    older(server, 4 * MINUTE_MS)
    assert findings(queue) == [("record_away", None)]
    assert text_of(queue, "record_away") == (
        "Nothing has been recorded for 5 min: the record's database cannot be reached; waiting: 1 change, the first for 4 min."
    )
    samples = metrics(queue)
    assert samples['jobqueue_record_waiting{queue="default"}'] == 1
    assert samples['jobqueue_record_away{queue="default"}'] == 1
    assert 240 <= samples['jobqueue_record_age_seconds{queue="default"}'] < 300


def test_what_was_refused_is_told_with_its_reason(queue: JobQueue, marks: Marks) -> None:
    job = queue.submit()
    marks.confirm("default", [], [(each, "no such type here") for each in marks.read("default").jobs])
    assert findings(queue) == [("record_refused", None)]
    assert text_of(queue, "record_refused").endswith(
        f"refused 1 job of the queue default, for instance {job.id}: no such type here."
    )
    assert metrics(queue)['jobqueue_record_refused{queue="default"}'] == 1


def test_what_was_given_up_is_an_error(queue: JobQueue, marks: Marks) -> None:
    marks.keep("default", 1)
    queue.submit(), queue.submit(), queue.submit()
    tick(queue)
    assert findings(queue) == [("record_lost", None)]
    assert text_of(queue, "record_lost").startswith("2 changes of the last minutes will not be in the record")
    assert metrics(queue)['jobqueue_record_lost_total{queue="default"}'] == 2


def metrics(queue: JobQueue) -> dict[str, float]:
    server = {"used_memory_bytes": 1, "maxmemory_bytes": 0}
    lines = as_prometheus(queue.looks(), {}, server).splitlines()
    return {
        name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if not line.startswith("#"))
    }
