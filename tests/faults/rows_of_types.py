"""Workers that know different types, beside jobs that nobody knows."""

from __future__ import annotations

from typing import Any

from jobqueue import NewJob
from tests.faults.other_handlers import OTHER
from tests.faults.row import repeated, row
from tests.faults.stage import LEASE_S, PREFIX, QUEUE, THREADS, Actor, Stage

STRANGE = "nobody.handles.it"
STRANGE_JOBS = 2000  # the observer looks at all of them twice a second


@row(
    "F70",
    "workers that know different types join, leave and die",
    "kill -9 or SIGTERM every second, a new one at once; a type paused for a while; in front, jobs that nobody handles",
    expects=lambda verdict: verdict.notes["attempts at the wrong worker"] == verdict.notes["attempts of these"] == 0,
)
def mixed_workers(stage: Stage, seconds: float) -> dict[str, Any]:
    flags = ("--threads", str(THREADS), "--handlers", "tests.faults.other_handlers", "--drain", "10")
    others = [stage.add("worker.py", *flags, **stage.ledger.environment) for _ in range(2)]
    usual = stage.producer.usual
    stage.producer.work = lambda n: usual(n) | ({"type": OTHER} if n % 2 else {})
    strange = in_front(stage)

    def replace() -> None:
        worker: Actor = stage.rng.choice(stage.workers + others)
        if stage.rng.random() < 0.5:
            worker.restart()
        else:
            assert worker.program.stop(20) == 0
            worker.start()

    replaced = repeated(stage, seconds / 2, 1.0, replace)
    stage.queue.pause_type(QUEUE, OTHER)
    stage.wait(LEASE_S)
    stage.queue.pause_type(QUEUE, OTHER, paused=False)
    replaced += repeated(stage, seconds / 2, 1.0, replace)
    attempts = sum(int(stage.server.client.hget(f"{PREFIX}job:{job_id}", "attempts") or 0) for job_id in strange)
    for at in range(0, len(strange), 500):
        stage.queue.act_on("cancel", strange[at : at + 500])
    errors = stage.queue.books(QUEUE).totals.get("errors:no_handler", 0)
    return {
        "replaced": replaced,
        "jobs that nobody handles": len(strange),
        "attempts of these": attempts,
        "attempts at the wrong worker": errors,
    }


def in_front(stage: Stage) -> list[str]:
    """Jobs of the highest priority that no worker may take."""
    answers = stage.queue.submit_many([NewJob(STRANGE, priority=9) for _ in range(STRANGE_JOBS)])
    ids = [answer.job.id for answer in answers if answer.job]
    stage.producer.acked |= {-at: job_id for at, job_id in enumerate(ids, 1)}
    return ids
