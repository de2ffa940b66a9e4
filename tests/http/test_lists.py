"""What lists show, page by page, while jobs come and go."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from jobqueue import JobQueue, NewJob
from tests.answers import invalid
from tests.harness import System
from tests.http.operating import follow, listed, listed_ids
from tests.played import Q, Worker


def test_each_filter_finds_its_jobs_and_knows_their_number(system: System, jobs: JobQueue, hand: Worker) -> None:
    done, failed = system.submit(1, type="a"), system.submit(2, type="b", tags=["red"])
    hand.give("done"), hand.give("failed")
    queued = system.submit(3, type="a", tags=["red", "blue"])
    later, other = system.submit(4, type="b", delay_s=60), system.submit(5, type="a", queue="mail")
    for query, expected, total in [
        ("status=done", [done], 1),
        ("status=failed", [failed], 1),
        ("status=scheduled", [later], 1),
        ("status=processing", [], 0),
        ("queue=mail", [other], 1),
        ("queue=unknown", [], 0),
        ("tag=red", [queued, failed], 2),
        ("tag=green", [], 0),
        ("type=b", [later, failed], None),
        ("tag=red&status=queued", [queued], 1),
        ("tag=red&status=done", [], 0),
        ("tag=red&type=a", [queued], None),
        ("status=queued&type=a&queue=default", [queued], None),
    ]:
        page = listed(system, query)
        assert (listed_ids(page), page["total"], page["next_cursor"]) == (expected, total, None), query
    assert set(listed_ids(listed(system))) == {done, failed, queued, later, other}
    assert listed(system)["total"] == 5


def test_a_listed_job_is_the_same_as_the_job_itself(system: System, jobs: JobQueue) -> None:
    for fields in ({}, {"tags": ["b", "a", "b"], "max_attempts": 7}, {"delay_s": 60, "timeout_s": 5}):
        answer = system.post("/jobs", {"payload": "x" * 300, **fields}).json()
        answer.pop("warning")
        assert system.job(answer["job_id"]) == answer
        assert answer in listed(system)["jobs"]


def test_all_jobs_are_listed_those_that_run_and_wait_first_and_the_oldest_end_last(
    system: System, jobs: JobQueue, hand: Worker
) -> None:
    first, second, running = (system.submit() for _ in range(3))
    hand.give("done"), hand.give("done"), hand.claim()
    low, high = system.submit(priority="low"), system.submit(priority="high")
    assert listed_ids(listed(system)) == [
        running,
        high,
        low,
        *sorted([second, first], key=ended_at(system), reverse=True),
    ]


def ended_at(system: System) -> Callable[[str], str]:
    return lambda job_id: str(system.job(job_id)["finished_at"]) + job_id


def test_limit_offset_and_cursor_cut_the_same_list(system: System, jobs: JobQueue) -> None:
    all_of_it = [system.submit(n) for n in range(12)]
    assert listed_ids(listed(system)) == all_of_it
    assert [listed_ids(listed(system, f"limit=5&offset={n}")) for n in (0, 5, 10, 12)] == [
        all_of_it[:5],
        all_of_it[5:10],
        all_of_it[10:],
        [],
    ]
    for limit in (1, 5, 12, 200):
        assert follow(system, f"limit={limit}") == all_of_it
        assert follow(system, f"limit={limit}&type=echo") == all_of_it


@pytest.mark.parametrize("status", ["queued", "done", None])
def test_pages_are_disjoint_and_complete_while_jobs_come_and_go(
    status: str | None, system: System, jobs: JobQueue, hand: Worker
) -> None:
    there = [job.job.id for job in jobs.submit_many([NewJob(payload=n) for n in range(60)]) if job.job]
    if status == "done":
        hand.give("done", 60)
    gone: list[str] = []

    def meanwhile() -> None:
        """The job just shown and one not shown yet go; another comes."""
        shown = seen[-1]
        last = next(job_id for job_id in (there if status == "done" else there[::-1]) if job_id not in (*gone, *seen))
        for job_id in (shown, last):
            jobs.delete(job_id)
            gone.append(job_id)
        jobs.submit(payload="new", priority=9 if len(gone) % 4 else 0)
        if status == "done":
            hand.give("done")

    query = "limit=7" + (f"&status={status}" if status else "")
    page = listed(system, query)
    seen = listed_ids(page)
    for _ in range(4):
        meanwhile()
        page = listed(system, f"{query}&cursor={page['next_cursor']}")
        seen += listed_ids(page)
    if page["next_cursor"]:
        seen += follow(system, query, page["next_cursor"])
    assert len(seen) == len(set(seen))
    assert set(there) - set(gone) <= set(seen)


def test_jobs_that_ended_in_the_same_millisecond_are_listed_once_each(
    system: System, jobs: JobQueue, hand: Worker
) -> None:
    jobs.submit_many([NewJob(payload=n) for n in range(30)])
    claimed = hand.claim(30)
    hand.end("failed", *claimed)
    system.server.client.zadd(f"{Q}failed", {job.id: 1_700_000_000_000 for job in claimed}, xx=True)
    victims = iter([job.id for job in claimed])
    seen = listed_ids(first := listed(system, "status=failed&limit=4"))
    jobs.delete(seen[-1])  # where the next page would begin
    seen += follow(system, "status=failed&limit=4", first["next_cursor"])
    assert sorted(seen) == sorted(victims)


def test_several_queues_are_merged_newest_first(system: System, jobs: JobQueue) -> None:
    expected = []
    for n in range(12):
        queue = f"q{n % 3}"
        expected.insert(0, system.submit(n, queue=queue))
        Worker(jobs, queue=queue).jobs.cancel(expected[0])
        stamp = 1_700_000_000_000 + n
        system.server.client.zadd(f"jq:{{{queue}}}:cancelled", {expected[0]: stamp}, xx=True)
    assert listed_ids(listed(system, "status=cancelled")) == expected
    assert listed(system, "status=cancelled&limit=2")["total"] == 12
    for limit in (1, 2, 5, 7):
        assert follow(system, f"status=cancelled&limit={limit}") == expected


def test_a_page_knows_of_a_queue_that_came_between(system: System, jobs: JobQueue) -> None:
    there = [system.submit(n) for n in range(4)]
    page = listed(system, "limit=2")
    new = system.submit(queue="late")
    rest = follow(system, "limit=2", page["next_cursor"])
    assert sorted([*listed_ids(page), *rest]) == sorted([*there, new])


@pytest.mark.parametrize("path", ["/jobs", "/dlq"])
@pytest.mark.parametrize(
    "query, pointer",
    [
        ("limit=0", "/limit"),
        ("limit=201", "/limit"),
        ("limit=-1", "/limit"),
        ("limit=ten", "/limit"),
        ("limit=", "/limit"),
        ("limit=%D9%A3", "/limit"),
        ("offset=-1", "/offset"),
        ("offset=10001", "/offset"),
        ("limit=1&limit=2", "/limit"),
        ("type=", "/type"),
        ("queue=", "/queue"),
        ("kind=", "/kind"),
        ("colour=red", "/colour"),
        ("Limit=5", "/Limit"),
        ("cursor=!", "/cursor"),
        ("cursor=abc", "/cursor"),
        ("cursor=WzAsWzFdXQ", "/cursor"),  # [0,[1]]
        ("cursor=Wzk5LHt9XQ", "/cursor"),  # [99,{}]
        ("cursor=WzAseyJkZWZhdWx0IjoxfV0", "/cursor"),  # [0,{"default":1}]
        ("cursor=WzAseyJkZWZhdWx0Ijoi2aMgMDAwMDAwMDAtMDAwMC0wMDAwLTAwMDAtMDAwMDAwMDAwMDAwIn1d", "/cursor"),
        ("cursor=" + "W1tb" * 2000, "/cursor"),  # [[[ ...
    ],
)
def test_a_wrong_parameter_is_a_422_that_names_it(bystander: System, path: str, query: str, pointer: str) -> None:
    assert invalid(bystander.get(f"{path}?{query}")) == [pointer]


def test_a_list_knows_its_statuses_and_utf_8(bystander: System) -> None:
    assert invalid(bystander.get("/jobs?tag=&operation=")) == ["/tag", "/operation"]
    assert invalid(bystander.get("/jobs/counts?tag=")) == ["/tag"]
    assert invalid(bystander.get("/jobs?status=lost")) == ["/status"]
    assert invalid(bystander.get("/dlq?status=failed")) == ["/status"]
    assert invalid(bystander.get("/jobs?type=%ff")) == [""]
    assert bystander.get("/jobs?type=%C3%BC&tag=%00").json()["jobs"] == []


@pytest.mark.long(8)
def test_a_filter_that_matches_nothing_among_20000_jobs_is_answered_soon(system: System, jobs: JobQueue) -> None:
    client = system.server.client
    for _ in range(21):
        jobs.submit_many([NewJob(payload=n) for n in range(1000)])
    client.config_set("slowlog-log-slower-than", 200_000)
    client.slowlog_reset()
    began = time.monotonic()
    page = listed(system, "type=nothing&limit=50")
    took_s = time.monotonic() - began
    assert page["jobs"] == [] and page["total"] is None and page["next_cursor"]
    assert took_s < 5.0
    assert follow(system, "type=nothing&limit=50") == []
    began = time.monotonic()
    assert len(listed_ids(listed(system, "type=echo&limit=50&offset=10000"))) == 50
    assert len(listed_ids(listed(system, "limit=200"))) == 200
    assert listed(system, "type=nothing&offset=10000")["jobs"] == []
    assert time.monotonic() - began < 20.0
    assert [entry["command"][:40] for entry in client.slowlog_get()] == []
