"""Programs are killed, frozen, replaced, or too many."""

from __future__ import annotations

import signal
import time
from typing import Any

from tests.faults.row import repeated, row, steady
from tests.faults.stage import LEASE_S, QUEUE, Stage
from tests.harness import eventually


@row("F1", "a worker is killed in the middle of jobs", "kill -9 every 3 s, a new one at once")
def kill_workers(stage: Stage, seconds: float) -> dict[str, Any]:
    kills = repeated(stage, seconds, 3.0, lambda: stage.rng.choice(stage.workers).restart())
    return {"kills": kills}


@row(
    "F7",
    "a zombie: a worker stands still for longer than its leases and goes on",
    f"SIGSTOP {2.5 * LEASE_S:g} s, SIGCONT",
    expects=lambda verdict: verdict.refused > 0,
)
def freeze_workers(stage: Stage, seconds: float) -> None:
    def freeze() -> None:
        with stage.rng.choice(stage.workers).frozen():
            stage.wait(2.5 * LEASE_S)

    stage.producer.work = steady(0.2)
    repeated(stage, seconds, 1.0, freeze)


@row(
    "F8",
    "a worker and all reapers stand still; the worker goes on first",
    "SIGSTOP, SIGCONT in this order",
    expects=lambda verdict: verdict.refused == 0,
)
def freeze_with_reapers(stage: Stage, seconds: float) -> None:
    def freeze() -> None:
        for reaper in stage.reapers:
            reaper.program.signal(signal.SIGSTOP)
        with stage.rng.choice(stage.workers).frozen():
            stage.wait(2 * LEASE_S)
        stage.wait(1.0)  # its results arrive
        for reaper in stage.reapers:
            reaper.program.signal(signal.SIGCONT)

    stage.producer.work = steady(0.2)
    repeated(stage, seconds, 1.0, freeze)


@row("F9", "a handler that sleeps past its timeout and cannot be interrupted", f"sleeps {2.5 * LEASE_S:g} s in C")
def stuck_handlers(stage: Stage, seconds: float) -> dict[str, Any]:
    stuck = [stage.queue.submit("noted.stubborn", {"s": 2.5 * LEASE_S}).id for _ in range(3)]
    stage.producer.acked |= {-at: job_id for at, job_id in enumerate(stuck, 1)}
    eventually(lambda: {stage.queue.get(job_id).status for job_id in stuck}, equals={"failed"}, within_s=60)
    runs = [stage.ledger.runs()[job_id] for job_id in stuck]
    assert all(len(of_job) == 2 for of_job in runs), runs
    again = [second.started - first.started for first, second in runs]
    return {"run again after": f"{min(again):.1f} to {max(again):.1f} s, then failed"}


@row("F10", "all workers are killed; new ones come later", "kill -9 all, start them again")
def kill_all_workers(stage: Stage, seconds: float) -> None:
    for worker in stage.workers:
        worker.kill()
    stage.wait(seconds)
    for worker in stage.workers:
        worker.start()


@row("F11", "no reaper", "kill -9 all reapers and a worker, later start reapers again")
def kill_reapers(stage: Stage, seconds: float) -> dict[str, Any]:
    for reaper in stage.reapers:
        reaper.kill()
    stage.workers[0].restart()
    before, began = stage.queue.books(QUEUE).totals.get("done", 0), time.monotonic()
    stage.wait(seconds)
    rate = (stage.queue.books(QUEUE).totals["done"] - before) / (time.monotonic() - began)
    for reaper in stage.reapers:
        reaper.start()
    return {"jobs done without one": f"{rate:.0f}/s"}


@row("F12", "five reapers at once", "and workers killed as in F1", setting={"reapers": 5})
def many_reapers(stage: Stage, seconds: float) -> dict[str, Any]:
    return kill_workers(stage, seconds)


@row(
    "F13",
    "rolling restarts",
    "SIGTERM one worker after the other, a new one each time",
    expects=lambda verdict: verdict.notes["attempts above 1"] == 0,
)
def roll(stage: Stage, seconds: float) -> dict[str, Any]:
    def restart() -> None:
        worker = stage.rng.choice(stage.workers)
        codes.append(worker.program.stop(20))
        worker.start()

    codes: list[int] = []
    stage.producer.work = steady(0.1)
    stage.wait(LEASE_S)  # what came before has ended
    n = repeated(stage, seconds, 0.2, restart)
    assert set(codes) == {0}, codes
    calm = [job_id for n, job_id in stage.producer.acked.items() if n > 150]
    again = sum(stage.queue.get(job_id).attempts > 1 for job_id in calm)
    return {"restarts": n, "attempts above 1": again}


@row("F16", "a storm of workers", "20 more started at once, then killed at once")
def storm(stage: Stage, seconds: float) -> dict[str, Any]:
    flags = ("--threads", "4", "--handlers", "tests.faults.ledger")
    settings = {"PROCESSING_TIMEOUT_S": str(LEASE_S)} | stage.ledger.environment
    crowd = [stage.system.start("worker.py", *flags, **settings) for _ in range(20)]
    for program in crowd:
        program.says("ready", within_s=60)
    clients = stage.server.client.info("clients")["connected_clients"]
    for program in crowd:
        stage.deaths[program.pid] = time.monotonic()
        program.kill()
    return {"connections at the peak": clients}
