"""Lists from a time on, until a time: by the end of ended jobs, by the submit of those with a tag."""

from __future__ import annotations

from typing import Any

import pytest

from _jobqueue.rfc3339 import rfc3339
from jobqueue import JobQueue, NewJob
from tests.answers import invalid
from tests.harness import System
from tests.http.operating import follow, listed, listed_ids
from tests.played import Q, Worker

T = 1_700_000_000_000


def at(second: int) -> str:
    return str(rfc3339(T + 1000 * second))


def ended(system: System, hand: Worker, status: str, n: int) -> list[str]:
    """Ids of jobs that ended a second apart, from T on; the oldest first."""
    hand.jobs.submit_many([NewJob(payload=each, tags=["red"]) for each in range(n)])
    claimed = hand.claim(n)
    hand.end(status, *claimed)
    ids = [job.id for job in claimed]
    times: dict[Any, float] = {job_id: T + 1000 * n for n, job_id in enumerate(ids)}
    kinds = [f"kind:{kind}" for kind in system.server.client.smembers(f"{Q}kinds")]
    for index in [status, *kinds]:
        assert system.server.client.zadd(f"{Q}{index}", times, xx=True, ch=True) == n, index
    return ids


def test_ended_jobs_are_listed_by_their_end(system: System, jobs: JobQueue, hand: Worker) -> None:
    ids = ended(system, hand, "done", 10)
    for query, expected in [
        (f"since={at(3)}", ids[3:]),
        (f"until={at(3)}", ids[:3]),
        (f"since={at(3)}&until={at(5)}", ids[3:5]),
        (f"since={at(5)}&until={at(3)}", []),
        (f"since={at(20)}", []),
        (f"until={at(5)}&type=echo", ids[:5]),
        (f"since={at(5)}&type=other", []),
    ]:
        page = listed(system, f"status=done&{query}")
        assert (listed_ids(page), page["next_cursor"]) == (expected[::-1], None), query
        assert page["total"] == (None if "type" in query else len(expected)), query
        for limit in (1, 2, 3, 10):
            assert follow(system, f"status=done&limit={limit}&{query}") == expected[::-1], (query, limit)
    assert listed_ids(listed(system, f"status=done&until={at(8)}&offset=2&limit=3")) == [ids[5], ids[4], ids[3]]


def test_dead_letters_are_listed_by_their_end_also_of_one_kind(system: System, jobs: JobQueue, hand: Worker) -> None:
    ids = ended(system, hand, "failed", 6)
    query = f"since={at(2)}&until={at(4)}"
    expected = [ids[3], ids[2]]
    kind = listed(system, "status=failed")["jobs"][0]["errors"][-1]["kind"]
    assert listed_ids(listed(system, f"status=failed&{query}")) == expected
    assert listed_ids(listed(system, f"kind={kind}&{query}")) == expected
    assert listed_ids(system.get(f"/dlq?{query}").json()) == expected


def test_jobs_with_a_tag_are_listed_by_their_submit(system: System, jobs: JobQueue, hand: Worker) -> None:
    ids = [system.submit(n, tags=["red"]) for n in range(5)]
    assert system.server.client.zadd(
        f"{Q}tag:red", {each: T + 1000 * n for n, each in enumerate(ids)}, xx=True, ch=True
    )
    assert listed_ids(listed(system, f"tag=red&since={at(1)}&until={at(3)}")) == [ids[2], ids[1]]
    assert listed_ids(listed(system, f"tag=red&status=queued&since={at(4)}")) == [ids[4]]


def test_several_queues_are_cut_at_the_same_time(system: System, jobs: JobQueue) -> None:
    ids = []
    for n in range(9):
        queue = f"q{n % 3}"
        ids.append(system.submit(n, queue=queue))
        jobs.cancel(ids[-1])
        system.server.client.zadd(f"jq:{{{queue}}}:cancelled", {ids[-1]: T + 1000 * n}, xx=True)
    query = f"status=cancelled&since={at(2)}&until={at(7)}"
    for limit in (1, 2, 4, 50):
        assert follow(system, f"{query}&limit={limit}") == ids[2:7][::-1]
    assert listed(system, query)["total"] == 5


def test_jobs_of_one_millisecond_are_all_there_or_none(system: System, jobs: JobQueue, hand: Worker) -> None:
    ids = ended(system, hand, "done", 7)
    system.server.client.zadd(f"{Q}done", dict.fromkeys(ids, T), xx=True)
    assert sorted(follow(system, f"status=done&since={at(0)}&limit=2")) == sorted(ids)
    assert follow(system, f"status=done&until={at(0)}&limit=2") == []


@pytest.mark.parametrize(
    "query", ["", "status=queued", "status=scheduled", "status=processing", "type=echo", "queue=default"]
)
def test_other_lists_have_no_time(bystander: System, query: str) -> None:
    assert invalid(bystander.get(f"/jobs?since={at(0)}&{query}")) == ["/since"]
    assert invalid(bystander.get(f"/jobs?until={at(0)}&{query}")) == ["/until"]


@pytest.mark.parametrize("text", ["", "now", "2026-01-01", "2026-01-01T00:00:00", "2026-13-01T00:00:00Z", "0"])
def test_a_time_has_an_offset(bystander: System, text: str) -> None:
    assert invalid(bystander.get(f"/jobs?status=done&since={text}")) == ["/since"]
    assert invalid(bystander.get(f"/dlq?until={text}")) == ["/until"]
