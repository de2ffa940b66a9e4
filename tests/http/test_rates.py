"""How fast it goes, minute by minute."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from _jobqueue.books import Look, Recent
from _jobqueue.web.overview import Overview as PatientOverview
from _jobqueue.web.rates import WINDOW, pace_of_work, paces, percentile
from jobqueue import JobQueue, NewJob
from tests.harness import Server
from tests.http.overviews import Overview, past, waits_since
from tests.played import Q, Worker, tick


@pytest.fixture
def overview(queue: JobQueue) -> PatientOverview:
    return Overview(queue)


def test_minutes_are_an_hour_of_all_queues_together(queue: JobQueue, server: Server, overview: PatientOverview) -> None:
    for name in ("default", "mail"):
        queue.submit(queue=name)
    past(server, 30, submitted=3, done=2, failed=1, retried=5, oldest_ms=7000)
    past(server, 30, "mail", submitted=4, oldest_ms=9000)
    minutes = overview.stats()["minutes"]
    assert [minute["at"] for minute in minutes] == sorted({minute["at"] for minute in minutes}) and len(minutes) == 60
    (found,) = [minute for minute in minutes if minute["submitted"] == 7]
    wanted = {"submitted": 7, "done": 2, "failed": 1, "retried": 5, "oldest_ms": 9000, "run_p50_ms": None}
    assert found.items() >= wanted.items()
    assert sum(minute["submitted"] for minute in minutes) == 9 and minutes[0]["oldest_ms"] is None


def test_minutes_that_are_over_are_read_once_and_those_of_another_redis_forgotten(
    queue: JobQueue, server: Server, overview: PatientOverview, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    looks = queue.looks
    monkeypatch.setattr(queue, "looks", lambda **args: asked.append(args["minutes"]) or looks(**args))
    queue.submit(), queue.submit()
    key = past(server, 30, submitted=3)
    for _ in range(3):
        assert sum(minute["submitted"] for minute in overview.stats()["minutes"]) == 5
        server.client.delete(key)
    assert asked.count(60) == 1 and asked.count(WINDOW) == 3
    server.client.flushall()
    JobQueue(server.url).submit()  # the other still knows the number that the queue had
    assert sum(minute["submitted"] for minute in overview.stats()["minutes"]) == 1


def test_a_minute_is_read_again_until_it_is_over(queue: JobQueue, server: Server, overview: PatientOverview) -> None:
    queue.submit()
    past(server, 3, done=1)
    overview.stats()
    past(server, 1, done=5)
    past(server, 0, done=7)
    assert sum(minute["done"] for minute in overview.stats()["minutes"]) == 13


def test_a_poll_across_the_turn_of_a_minute_loses_nothing(
    queue: JobQueue, overview: PatientOverview, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue.submit(queue="a"), queue.submit(queue="b")
    seen, now = queue.look("a"), {"a": 1000, "b": 1000}

    def look(queue: str, *, minutes: int, jobs: int) -> Look:
        books, last = replace(seen.books, now_ms=now[queue] * 60_000), now[queue]
        return replace(seen, books=books, minutes={last - ago: {"done": 1} for ago in range(minutes)})

    monkeypatch.setattr(queue, "looks", lambda **args: {name: look(name, **args) for name in ("a", "b")})
    for now["a"], now["b"] in ((1000, 1000), (1000, 1001), (1001, 1001), (1003, 1003)):
        minutes = [minute["done"] for minute in overview.stats()["minutes"]]
    assert minutes == [2] * 60


@pytest.mark.parametrize("later", [1, 5, 6, 7, 59])
def test_a_minute_that_was_not_over_is_read_again_however_much_later(
    later: int, queue: JobQueue, overview: PatientOverview, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue.submit()
    seen, counted, now = queue.look("default"), {1000: {"done": 1}}, 1000

    def look(queue: str, *, minutes: int, jobs: int) -> Look:
        books = replace(seen.books, now_ms=now * 60_000)
        return replace(seen, books=books, minutes={now - ago: counted.get(now - ago, {}) for ago in range(minutes)})

    monkeypatch.setattr(queue, "looks", lambda **args: {"default": look("default", **args)})
    assert sum(minute["done"] for minute in overview.stats()["minutes"]) == 1
    counted[1000], now = {"done": 5}, 1000 + later
    assert sum(minute["done"] for minute in overview.stats()["minutes"]) == 5


@pytest.mark.parametrize(
    "counts, p50, p95",
    [
        ({}, None, None),
        ({"run:10": 1}, 8, 10),  # evenly spread from 5 to 10
        ({"run:1": 50, "run:100": 50}, 1, 95),
        ({"run:1": 100, "run:inf": 900}, 1_800_000, 1_800_000),
        ({"run:5": 19, "run:1000": 1}, 3, 5),
    ],
)
def test_percentiles_are_interpolated_inside_their_bucket(counts: dict[str, int], p50: Any, p95: Any) -> None:
    assert (percentile(counts, "run", 0.5), percentile(counts, "run", 0.95)) == (p50, p95)


def test_rates_are_those_of_the_last_minutes(queue: JobQueue, server: Server, overview: PatientOverview) -> None:
    assert overview.stats()["rates"]["error_rate"] is None
    queue.submit()
    past(server, 40, done=1000, errors__error=1000, run__1000=1000)
    past(server, 3, done=300, failed=50, errors__error=50, errors__timeout=50, run__100=400, wait__10=300)
    rates = overview.stats()["rates"]
    assert rates["error_rate"] == 0.25 and (rates["run_p50_ms"], rates["wait_p95_ms"]) == (75, 10)
    # Since the first minute of the window in which anything happened: 3 and a part of this one.
    assert 80 < rates["finished_per_minute"] < 117 and 11 < rates["failed_per_minute"] < 17


def test_a_queue_tells_how_long_it_takes_to_drain(queue: JobQueue, server: Server, worker: Worker) -> None:
    def row() -> Any:
        return Overview(queue).stats()["queues"][0]

    assert [queue.submit() for _ in range(30)] and row()["drain_s"] is None
    past(server, 0, done=50, failed=10)
    assert row()["drain_s"] == pytest.approx(30, rel=0.1) and row()["done_per_minute"] == pytest.approx(50, rel=0.1)
    worker.claim(2)
    worker.tend()
    assert [row()[name] for name in ("workers", "threads", "busy", "reaper")] == [1, 2, 2, True]
    queue.pause("default")
    assert row()["drain_s"] is None


def test_the_time_to_drain_goes_by_the_last_minute_of_work(queue: JobQueue, server: Server) -> None:
    queue.submit_many([NewJob("echo", n) for n in range(30)])
    past(server, 5, done=6)
    past(server, 0, done=50, failed=10)
    (row,) = Overview(queue).stats()["queues"]
    assert row["drain_s"] == pytest.approx(30, rel=0.1)  # not at the pace of all these minutes, which were mostly idle
    assert row["growth_per_minute"] == pytest.approx(-30, abs=3)


def test_jobs_that_take_minutes_are_drained_at_the_pace_of_the_last_few(queue: JobQueue, server: Server) -> None:
    queue.submit_many([NewJob("echo", n) for n in range(3)])
    past(server, 4, done=4)
    (row,) = Overview(queue).stats()["queues"]
    assert row["drain_s"] == pytest.approx(60 * 3 / (4 / 4.5), rel=0.15) and row["done_per_minute"] == 0


def paced(look: Look, waiting: int, ended: int, *notes: tuple[int, int, int], oldest_s: float = 600) -> float:
    """The pace of a queue with these notes, each (seconds ago, how many waited, how many had ended), the latest first."""
    now_ms = look.books.now_ms
    sizes = look.books.sizes | {"queued": waiting}
    waits_since_ms = now_ms - round(1000 * oldest_s) if waiting else None
    books = replace(look.books, sizes=sizes, totals={"done": ended}, waits_since_ms=waits_since_ms)
    recent = [Recent(now_ms - 1000 * ago, waited, over) for ago, waited, over in notes]
    return pace_of_work(replace(look, books=books, recent=recent))


def test_the_pace_is_that_of_the_time_in_which_something_waited(queue: JobQueue) -> None:
    queue.register("default")
    look = queue.look("default", minutes=WINDOW)
    # 1,800 jobs came 24 s ago into a queue that had been at rest; 7 are done in a second.
    burst = [(4, 1660, 140), (14, 1730, 70), (34, 0, 0), (44, 0, 0)]
    assert paced(look, 1632, 168, *burst, oldest_s=24) == pytest.approx(7 * 60)
    assert paced(look, 1632, 168, (34, 0, 0), oldest_s=24) == pytest.approx(7 * 60)
    steady = [(10 * n, 500, 1000 - 20 * n) for n in range(1, 9)]
    assert paced(look, 500, 1000, *steady) == pytest.approx(120)
    # It has become slower: what is older than 90 s does not count.
    assert paced(look, 500, 1000, (45, 500, 955), (89, 500, 911), (300, 500, 0)) == pytest.approx(60)


def test_without_notes_the_pace_is_that_of_the_minutes(queue: JobQueue, server: Server) -> None:
    queue.submit()
    past(server, 0, done=50)
    look = queue.look("default", minutes=WINDOW)
    assert paced(look, 5, 50) == pytest.approx(50, rel=0.1)
    assert paced(look, 5, 50, (30, 5, 50)) == pytest.approx(50, rel=0.1), "nothing has ended: jobs that take long"
    assert paced(look, 5, 50, (2, 5, 0)) == pytest.approx(50, rel=0.1), "too short to tell"


@pytest.mark.parametrize("passed_s", [0, 15, 45, 59])
def test_a_steady_pace_is_told_as_it_is_at_any_moment_of_a_minute(passed_s: int) -> None:
    counted = {1000: {"done": passed_s}, 999: {"done": 60}, 998: {"done": 5000}}
    assert paces(counted, 1000 * 60_000 + passed_s * 1000, "done") == [pytest.approx(60)]


def test_a_queue_that_grows_says_by_how_much(queue: JobQueue, server: Server) -> None:
    queue.submit_many([NewJob("echo", n) for n in range(30)])
    server.client.delete(*server.client.keys(f"{Q}stats:*"))
    past(server, 0, submitted=329, done=80, failed=4)
    (row,) = Overview(queue).stats()["queues"]
    assert row["growth_per_minute"] == pytest.approx(245, abs=6)


def test_the_reaper_notes_how_long_jobs_have_waited_at_most(queue: JobQueue, server: Server, worker: Worker) -> None:
    waits_since(server, queue.submit().id, 90_000)
    queue.submit()
    server.client.delete(*server.client.keys(f"{Q}stats:*"))
    tick(queue)
    worker.claim()
    tick(queue)
    noted = [minute["oldest_ms"] for minute in Overview(queue).stats()["minutes"] if minute["oldest_ms"]]
    assert 90_000 <= max(noted) < 150_000
    for key in server.client.keys(f"{Q}stats:*"):
        assert 0 < server.client.ttl(key) <= 10_800
