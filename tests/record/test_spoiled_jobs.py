"""Jobs whose hash or id a hand has spoiled: they are set aside, and hold up no other."""

from __future__ import annotations

from _jobqueue.record.database import Record
from jobqueue import JobQueue
from tests.harness import Server
from tests.played import Q
from tests.record.keeping import history_of, in_sql, until_quiet

SPOILED = {
    "a time that no calendar has": {"created": "9" * 18},
    "an end after all times": {"status": "done", "finished": "9" * 30},
    "before all times": {"due": "-" + "9" * 17},
    "no number": {"created": "yesterday"},
    "more than any column holds": {"attempts": "9" * 25},
    "nested without end": {"payload": "[" * 5000 + "]" * 5000},
    "no JSON": {"payload": "{"},
    "half a surrogate pair": {"payload": '"\\ud800"'},
    "no progress": {"progress": "5"},
    "no error": {"error:1": "nonsense"},
}


def test_a_spoiled_hash_holds_up_no_other(record: Record, history_url: str, queue: JobQueue, server: Server) -> None:
    keeper = history_of(queue, record)
    until_quiet(keeper)
    spoiled = {why: queue.submit().id for why in SPOILED}
    for why, job_id in spoiled.items():
        server.client.hset(f"{Q}job:{job_id}", mapping=SPOILED[why])
    good = queue.submit(payload="good")
    until_quiet(keeper)
    assert good.id in in_sql(history_url)
    aside = server.client.hgetall(f"{Q}aside")
    left_out = {why for why, job_id in spoiled.items() if job_id not in in_sql(history_url)}
    assert {why for why, job_id in spoiled.items() if job_id in aside} == left_out and len(left_out) >= 8
    assert all(aside.values())


def test_an_id_that_is_none_in_an_index_holds_up_nothing(
    record: Record, history_url: str, queue: JobQueue, server: Server
) -> None:
    server.client.zadd(f"{Q}done", {"foo": 1, "x" * 300: 2, b"\xff\xfe": 3})
    good = queue.submit(payload="good")
    until_quiet(history_of(queue, record))
    assert in_sql(history_url).keys() == {good.id}
