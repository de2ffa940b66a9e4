"""GET /series and GET /types: what charts and the view of types show."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from _jobqueue.keys import new_key
from _jobqueue.rfc3339 import rfc3339
from jobqueue import JobQueue, NewJob
from tests.harness import Server, System
from tests.http.overviews import past
from tests.pages.dashboard import dead_letters
from tests.played import now_ms

MINUTE_MS = 60_000


@pytest.fixture(scope="module")
def shared() -> Iterator[System]:
    """For what changes nothing."""
    server = Server()
    system = System(server)
    system.api()
    system.submit(queue="mail")
    yield system
    system.close(show_logs=False)
    server.close()


def rows(system: System, query: str = "") -> list[dict[str, Any]]:
    answer = system.get(f"/series?{query}")
    assert answer.status_code == 200, answer.text
    return list(answer.json()["rows"])


def sum_of(system: System, name: str, query: str = "") -> int:
    return sum(row[name] or 0 for row in rows(system, query))


def summed(system: System, ago: int, queue: str, types: dict[str, dict[str, int]]) -> None:
    """Write a sum of ten minutes that is over for so many of them."""
    block = now_ms(system.server) // (10 * MINUTE_MS) - ago
    rows = {name: json.dumps(counts) for name, counts in types.items()}
    system.server.client.hset(f"jq:{{{queue}}}:sums:{block}", mapping=rows)


def test_an_hour_is_minutes_and_two_days_are_ten_minutes(shared: System) -> None:
    for query, step_s, n in (("", 60, 60), ("span=hour", 60, 60), ("span=two_days", 600, 288)):
        answer = shared.get(f"/series?{query}").json()
        ats = [row["at"] for row in answer["rows"]]
        assert (answer["step_s"], len(ats)) == (step_s, n) and ats == sorted(set(ats))
        assert ats[-1] <= answer["now"]
        assert sum(row["submitted"] for row in answer["rows"]) == 1


def test_queues_and_types_are_told_apart(system: System) -> None:
    system.api()
    system.submit(queue="mail"), system.submit(queue="shop")
    past(system.server, 5, "mail", done=7, waiting=3)
    past(system.server, 5, "shop", done=2, waiting=4)
    minute = now_ms(system.server) // MINUTE_MS - 5
    counts = json.dumps({"done": 6, "submitted": 8, "waiting": 1, "run:10": 6})
    system.server.client.hset(f"jq:{{mail}}:by_type:{minute}", "mail.send", counts)
    summed(system, 100, "mail", {"*": {"done": 50}, "mail.send": {"done": 40, "waiting": 9}})
    assert (sum_of(system, "done"), sum_of(system, "done", "queue=mail")) == (9, 7)
    assert [row["waiting"] for row in rows(system) if row["done"]] == [7]
    (found,) = [row for row in rows(system, "type=mail.send") if row["done"]]
    assert found.items() >= {"done": 6, "submitted": 8, "waiting": 1, "run_p50_ms": 8, "wait_p95_ms": None}.items()
    assert sum_of(system, "done", "type=mail.send&queue=shop") == 0
    assert sum_of(system, "done", "span=two_days") == 59
    assert sum_of(system, "done", "span=two_days&type=mail.send") == 46
    assert sum_of(system, "waiting", "span=two_days&type=mail.send") == 10


def test_only_the_newest_rows_are_told_to_who_has_the_others(system: System) -> None:
    system.api()
    system.submit()
    for span, step_ms in (("hour", MINUTE_MS), ("two_days", 10 * MINUTE_MS)):
        for ago in (0, 1, 7):
            since = rfc3339(now_ms(system.server) // step_ms * step_ms - ago * step_ms)
            found = rows(system, f"span={span}&since={since}")
            assert found[0]["at"] == since and len(found) in (ago + 1, ago + 2)
        assert len(rows(system, f"span={span}&since=2001-01-01T00:00:00Z")) == (60 if span == "hour" else 288)
        assert rows(system, f"span={span}&since=2101-01-01T00:00:00Z") == []


@pytest.mark.parametrize(
    "query, status, pointer",
    [
        ("span=week", 422, "/span"),
        ("span=", 422, "/span"),
        ("since=yesterday", 422, "/since"),
        ("since=1e400", 422, "/since"),
        ("type=" + "x" * 65, 422, "/type"),
        ("type=*", 422, "/type"),
        ("type=%00", 422, "/type"),
        ("type=", 422, "/type"),
        ("queue=none", 404, None),
        ("queue=" + "q" * 5000, 404, None),
        ("queue=mail&queue=mail", 422, "/queue"),
        ("minutes=5", 422, "/minutes"),
        ("type=%ff", 422, ""),
    ],
)
def test_what_is_asked_wrongly_is_refused(shared: System, query: str, status: int, pointer: str | None) -> None:
    answer = shared.get(f"/series?{query}")
    assert answer.status_code == status, answer.text
    if pointer is not None:
        assert answer.json()["errors"][0]["pointer"] == pointer


def test_a_type_that_nobody_knows_has_an_empty_chart(shared: System) -> None:
    assert sum_of(shared, "submitted", "type=unknown") == 0 and len(rows(shared, "type=unknown")) == 60


def test_a_system_without_queues_has_an_empty_chart(system: System) -> None:
    system.api()
    assert sum_of(system, "done") == 0 and len(rows(system, "span=two_days")) == 288


def test_a_key_of_some_queues_sees_these_alone(system: System) -> None:
    key, entry = new_key("m", "read@mail")
    system.api(API_KEYS=entry)
    jobs = JobQueue(system.url)
    jobs.submit_many([NewJob("a", queue="mail"), NewJob("b", queue="shop")])
    past(system.server, 5, "shop", done=7)
    asked = {"Authorization": f"Bearer {key}"}

    def get(path: str) -> requests.Response:
        return requests.get(system.api_url + path, headers=asked, timeout=30)

    assert sum(row["done"] for row in get("/series").json()["rows"]) == 0
    assert get("/series?queue=shop").status_code == 404
    assert [row["type"] for row in get("/types").json()["types"]] == ["a"]


def test_types_say_what_comes_dies_and_takes_the_time(system: System) -> None:
    system.api()
    dead = dead_letters(system, 3)
    assert len(dead) == 3
    jobs = JobQueue(system.url)
    jobs.submit_many([NewJob("image", queue="mail")] * 5)
    minute = now_ms(system.server) // MINUTE_MS
    told = {"mail": {"done": 1, "run:10": 1, "run:sum": 250}, "image": {"done": 1, "run:10": 1, "run:sum": 750}}
    for name, counts in told.items():
        system.server.client.hset(f"jq:{{mail}}:by_type:{minute}", name, json.dumps(counts))
    found = {row["type"]: row for row in system.get("/types").json()["types"]}
    assert {name: (row["dead"], row["dead_exact"], row["share"]) for name, row in found.items()} == {
        "mail": (3, True, 0.25),
        "image": (0, True, 0.75),
    }
    assert found["image"]["submitted_per_minute"] > 2 and found["image"]["waiting"] == 5


def test_many_dead_letters_are_counted_from_some(queue: JobQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("_jobqueue.store.by_type.LOOKS", 20)
    jobs = [each.job for each in queue.submit_many([NewJob("a")] * 60 + [NewJob("b")] * 20)]
    client = queue.store.client("default")
    client.zadd("jq:{default}:failed", {job.id: at for at, job in enumerate(jobs) if job})
    counts, exact = queue.sums.dead(["default"])["default"]
    assert not exact and counts == {"a": 60, "b": 20}
