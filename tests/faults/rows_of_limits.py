"""Jobs under limits, while their workers die. Handlers tell the ledger; what it says must never exceed a limit."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

from _jobqueue.limits import Limit
from tests.faults.ledger import Run
from tests.faults.row import repeated, row
from tests.faults.stage import PREFIX, QUEUE, Stage

GATE, FAST = "gate", "fast"
MOST, STARTS, PER_S = 3, 8, 1
NAMES = (GATE, FAST, "tenant:1", "tenant:2")


@row(
    "F66",
    "workers die while they hold permits; limits are lowered, raised and deleted under load",
    "kill -9 or SIGTERM every half second, a new one at once; at most 3 of one limit at once, 8 a second of another",
    expects=lambda verdict: (
        0 < verdict.notes["most at once"] <= MOST and 0 < verdict.notes["most in a second"] <= STARTS
    ),
)
def permits_of_the_dead(stage: Stage, seconds: float) -> dict[str, Any]:
    limits = stage.queue.limits
    limits.put(QUEUE, GATE, Limit(max_running=MOST))
    limits.put(QUEUE, FAST, Limit(starts=STARTS, per_s=PER_S))
    usual = stage.producer.usual
    stage.producer.work = lambda n: usual(n) | ({"limits": [NAMES[n // 2 % 4]]} if n % 2 else {})
    workers = [*stage.workers, stage.add_worker()]

    def strike() -> None:
        worker = stage.rng.choice(workers)
        if stage.rng.random() < 0.7:
            worker.restart()
        else:
            assert worker.program.stop(20) == 0
            worker.start()
        chance = stage.rng.random()
        if chance < 0.4:
            limits.put(QUEUE, "tenant:*", Limit(max_running=stage.rng.choice([1, 2, 5])))
        elif chance < 0.6 and any(each.name == "tenant:*" for each in limits.page(QUEUE)):
            limits.delete(QUEUE, "tenant:*")

    replaced = repeated(stage, seconds, 0.5, strike)
    found = {each.name: each for each in limits.page(QUEUE)}
    under = {job_id: name for job_id in list(stage.producer.acked.values()) if (name := _limit_of(stage, job_id))}
    runs = [run for job_id, some in stage.ledger.runs().items() if under.get(job_id) == GATE for run in some]
    claims = sorted(
        int(at)
        for job_id, name in under.items()
        if name == FAST and (at := stage.server.client.hget(f"{PREFIX}job:{job_id}", "started"))
    )
    return {
        "replaced": replaced,
        "most at once": most_at_once(runs),
        "most in a second": most_in_a_window(claims, PER_S * 1000),
        "waited at the end": sum(each.waiting for each in found.values()),
    }


def _limit_of(stage: Stage, job_id: str) -> str | None:
    name: str | None = stage.server.client.hget(f"{PREFIX}job:{job_id}", "limits")
    return name


def most_at_once(runs: Iterable[Run]) -> int:
    """Of handlers that were alive. When a killed one died nobody knows: it counts for the moment of its start."""
    steps = [(run.started, 1) for run in runs] + [(run.ended or run.started + 1e-6, -1) for run in runs]
    now = most = 0
    for _, step in sorted(steps):
        now += step
        most = max(most, now)
    return most


def most_in_a_window(times: Iterable[int], length: int) -> int:
    """Of times in ms, in order."""
    window, most = deque[int](), 0
    for at in times:
        window.append(at)
        while at - window[0] > length:
            window.popleft()
        most = max(most, len(window))
    return most
