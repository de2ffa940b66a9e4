"""Fair keys, while workers and reapers are killed."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from itertools import pairwise
from typing import Any, NamedTuple

from jobqueue import NewJob
from tests.faults.row import repeated, row
from tests.faults.stage import PREFIX, QUEUE, Actor, Stage
from tests.harness import eventually

FLOOD, OTHERS = 10_000, 50  # jobs of one key; other keys
SECONDS = 0.008  # of a job: a slot claims no more than one, so none is given back, and its start is that of its turn
PASSED_MOST = 2  # jobs of another key that start while one is the next of its own: one of this round, one of the next
FIELDS = ("score", "fair_key", "created", "started", "error:1")


class Started(NamedTuple):
    """A job, as its first start was. ms by Redis's clock."""

    place: int
    created: int
    started: int


@row(
    "F69",
    f"{FLOOD:,} jobs of one fair key, bursts of {OTHERS} others and jobs without one, two priorities, failing attempts",
    "kill -9 of a worker, a reaper or the API every second, a new one at once",
    expects=lambda verdict: (
        verdict.notes["most turns between two of a key"] <= PASSED_MOST
        and verdict.notes["out of order within a key"] == 0
    ),
)
def bursts(stage: Stage, seconds: float) -> dict[str, Any]:
    submit(stage, "flood", FLOOD)
    usual = stage.producer.usual
    stage.producer.work = lambda n: usual(n) | {"payload": {"n": n, "s": SECONDS, "fails": int(n % 20 == 0)}}

    def one_step() -> None:
        for _ in range(10):
            key = f"key-{stage.rng.randrange(OTHERS)}"
            submit(stage, key, stage.rng.choice((1, 1, 5, 20)), stage.rng.choice((5, 5, 5, 9)))
        actor: Actor = stage.rng.choice([*stage.workers, *stage.workers, *stage.reapers, stage.api])
        actor.restart()

    repeated(stage, seconds, 0.5, one_step)
    stage.producer.stop()
    eventually(lambda: stage.queue.books(QUEUE).waiting, equals=0, within_s=120)
    return judged(stage) | {"given back": stage.queue.books(QUEUE).totals.get("released", 0)}


def submit(stage: Stage, key: str, n: int, priority: int = 5) -> None:
    jobs = [
        NewJob("noted", {"s": SECONDS, "fails": int(stage.rng.random() < 0.05)}, fair_key=key, priority=priority)
        for _ in range(n)
    ]
    ids = [answer.job.id for answer in stage.queue.submit_many(jobs) if answer.job]
    assert len(ids) == n
    known = len(stage.producer.acked)
    stage.producer.acked |= {-known - at: job_id for at, job_id in enumerate(ids, 1)}


def judged(stage: Stage) -> dict[str, Any]:
    """How many jobs of another key started, at most, while one was the next of its own; and what ran out of order."""
    by_priority: dict[int, dict[str, list[Started]]] = defaultdict(lambda: defaultdict(list))
    for job_id in stage.producer.acked.values():
        score, key, created, started, error = stage.server.client.hmget(f"{PREFIX}job:{job_id}", FIELDS)
        first = error.split("\n")[0].split()[4] if error else started
        by_priority[int(score) // 2**43][key or ""].append(Started(int(score), int(created), int(first)))
    most, late = 0, 0
    for by_key in by_priority.values():
        for jobs in by_key.values():
            jobs.sort()
            late += sum(after.started < before.started for before, after in pairwise(jobs))
        starts = {key: sorted(job.started for job in jobs) for key, jobs in by_key.items()}
        for key, jobs in by_key.items():
            free = 0  # when the last one of the key started
            for job in jobs:
                since = max(free, job.created)
                for other, times in starts.items():
                    if other != key:
                        most = max(most, bisect_left(times, job.started) - bisect_right(times, since))
                free = job.started
    keys = sum(map(len, by_priority.values()))
    return {
        "keys and priorities": keys,
        "most turns between two of a key": most,
        "out of order within a key": late,
    }
