"""Figures by job type in GET /stats and on /metrics: which type makes a queue grow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from _jobqueue.books import Look
from _jobqueue.by_type import OTHER, ByType, Waiting
from _jobqueue.histograms import Counts
from _jobqueue.web import by_type
from _jobqueue.web.by_type import families, rows_of
from jobqueue import JobQueue, NewJob
from tests.harness import System, eventually
from tests.http.overviews import Overview
from tests.played import Worker

MINUTE = 1000


def rows(queue: JobQueue) -> dict[str, dict[str, Any]]:
    return {row["type"]: row for row in Overview(queue).stats()["types"]}


@pytest.fixture
def seen(queue: JobQueue) -> Look:
    """A queue without workers, as it stands half a minute after a minute has begun."""
    queue.register("default")
    look = queue.look("default")
    return replace(look, books=replace(look.books, now_ms=MINUTE * 60_000 + 30_000))


def figures(waiting: Mapping[str, tuple[float, float]], *minutes: dict[str, Counts], exact: bool = True) -> ByType:
    """``waiting``: how many wait, how many of them came lately; ``minutes``: this one first."""
    now_ms = MINUTE * 60_000 + 30_000
    counts = {MINUTE - ago: each for ago, each in enumerate(minutes)}
    waits = {name: Waiting(n, came, now_ms - 5000) for name, (n, came) in waiting.items()}
    return ByType(now_ms, (MINUTE - 1) * 60_000, exact, waits, {}, counts)


def told(look: Look, found: ByType) -> dict[str, dict[str, Any]]:
    return {row["type"]: row for row in rows_of({"default": look}, {"default": found})}


def test_each_type_says_what_waits_runs_and_who_handles_it(queue: JobQueue) -> None:
    worker = Worker(queue, "mail").handles("mail", "idle")
    queue.submit_many([NewJob(name) for name in ("mail", "image", "mail", "mail")])
    worker.claim(1)
    queue.pause_type("default", "image")
    worker.renew()
    found = rows(queue)
    assert {name: (row["waiting"], row["running"], row["handled"], row["paused"]) for name, row in found.items()} == {
        "mail": (2, 1, True, False),
        "image": (1, 0, False, True),
        "idle": (0, 0, True, False),
    }
    assert found["mail"]["exact"] and found["mail"]["oldest_age_s"] < 60 and found["idle"]["oldest_age_s"] is None


def test_rates_and_percentiles_of_a_type_are_those_of_the_last_minutes(seen: Look) -> None:
    counts = {"done": 40, "failed": 4, "run:100": 44, "wait:10": 40}
    found = told(seen, figures({}, {"mail": {"done": 10, "run:100": 10}}, {"mail": counts}))["mail"]
    assert (found["done_per_minute"], found["failed_per_minute"]) == (30, 2)
    assert (found["run_p50_ms"], found["run_p95_ms"], found["wait_p95_ms"]) == (75, 98, 10)


@pytest.mark.parametrize(
    "waiting, counts, growth",
    [
        ((900, 900), {}, 600),  # all that came in the last 90 s still waits
        ((900, 0), {}, 0),  # a backlog that nobody touches does not grow
        ((900, 300), {"wait:300000": 300}, 0),  # as many came as have started that had waited for long
        ((900, 0), {"wait:300000": 300}, -200),
        ((0, 0), {"wait:1": 100_000}, -0.6),  # they came and went
        (
            (500, 500),
            {"wait:60000": 400},
            133,
        ),  # of 400 that had waited for 45 s, 300 came before the minute in which they began
    ],
)
def test_growth_is_what_came_less_what_has_left(
    seen: Look, waiting: tuple[float, float], counts: Counts, growth: float
) -> None:
    row = told(seen, figures({"mail": waiting}, {}, {"mail": counts}))["mail"]
    assert row["growth_per_minute"] == pytest.approx(growth, abs=1)


def test_the_type_that_makes_it_grow_comes_first(seen: Look) -> None:
    found = figures({"big": (9000, 0), "grows": (40, 30), "small": (10, 0)}, {"busy": {"done": 5}})
    assert [row["type"] for row in rows_of({"default": seen}, {"default": found})] == ["grows", "big", "small", "busy"]


def test_an_estimate_says_so(seen: Look) -> None:
    assert told(seen, figures({"mail": (5, 0)}, exact=False))["mail"]["exact"] is False


def test_rows_of_an_answer_are_bounded(queue: JobQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    queue.submit_many([NewJob(f"t{n}") for n in range(7)])
    monkeypatch.setattr("_jobqueue.web.overview.ROWS_MOST", 5)
    stats = Overview(queue).stats()
    assert len(stats["types"]) == 5 and stats["types_more"] == 2


def test_labels_are_bounded_and_a_counter_keeps_its_own(seen: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(by_type, "LABELS_MOST", 3)
    ever = {f"t{n}": {"since": n, "done": 1, "run:10": 1, "run:sum": 7} for n in range(5)}
    found = replace(figures({"t9": (4, 0), "t8": (5, 0), "t0": (1, 0)}), ever=ever)
    samples = {name: values for name, _, _, values in families({"default": seen}, {"default": found})}
    done = {each["type"]: n for each, n in samples["type_attempts_total"] if each["outcome"] == "done"}
    assert done == {"t0": 1, "t1": 1, "t2": 1, OTHER: 2}
    assert {each["type"]: n for each, n in samples["type_waiting"]} == {"t0": 1, OTHER: 9}


def test_a_real_worker_counts_its_attempts_by_type(system: System) -> None:
    """Also those of its last moments, which its last beat tells."""
    system.api()
    worker = system.worker("--handlers", "tests.odd_handlers", "--threads", "2", BACKOFF_S="0")
    for n in range(5):
        system.submit(n, type="say")
    for _ in range(2):
        system.submit(1, type="fail", max_attempts=1)
    eventually(lambda: system.get("/jobs?status=failed").json()["total"], equals=2)
    eventually(lambda: system.get("/jobs?status=done").json()["total"], equals=5)
    assert worker.stop() == 0

    def counted() -> dict[str, tuple[float, float, bool]]:
        types = system.get("/stats").json()["types"]
        return {
            row["type"]: (row["done_per_minute"] > 0, row["failed_per_minute"] > 0, row["handled"]) for row in types
        }

    eventually(counted, equals={"say": (True, False, False), "fail": (False, True, False)})
    ever = JobQueue(system.url).by_type()["default"].ever
    assert {name: (its.get("done", 0), its.get("failed", 0)) for name, its in ever.items()} == {
        "say": (5, 0),
        "fail": (0, 2),
    }
