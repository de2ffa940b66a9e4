"""The network loses, delays, cuts and stands still."""

from __future__ import annotations

import random
from contextlib import ExitStack
from typing import Any

from tests.faults.proxy import APPLIED, BEFORE, Strike
from tests.faults.row import reaped, repeated, row, steady
from tests.faults.stage import LEASE_S, Stage


def lose(stage: Stage, seconds: float, moment: str) -> dict[str, Any]:
    """One in a hundred messages, on all ways."""
    for actor in stage.actors:
        rng = random.Random(stage.rng.random())
        actor.proxy.rule = lambda message, rng=rng: Strike(moment) if rng.random() < 0.01 else None
    stage.wait(seconds)
    return {"struck": sum(actor.proxy.strikes for actor in stage.actors)}


@row("F26", "answers of Redis are lost", "1 % of all, after Redis applied the request; the connection is cut")
def lose_replies(stage: Stage, seconds: float) -> dict[str, Any]:
    return lose(stage, seconds, APPLIED)


@row("F27", "requests to Redis are lost", "1 % of all; the connection is cut")
def lose_requests(stage: Stage, seconds: float) -> dict[str, Any]:
    return lose(stage, seconds, BEFORE)


@row(
    "F28",
    "half-open connections",
    "30 % of the workers' connections fall silent, both ends believe in them",
)
def half_open(stage: Stage, seconds: float) -> dict[str, Any]:
    deaf: list[int] = []

    def deafen() -> None:
        for worker in stage.workers:
            deaf.append(worker.proxy.deafen(lambda: stage.rng.random() < 0.3))

    stage.producer.work = steady(0.02)
    repeated(stage, seconds, 5.0, deafen)
    return {"silenced": sum(deaf), "longest wait for a start": f"{longest_wait_s(stage):.1f} s"}


def longest_wait_s(stage: Stage) -> float:
    """From the acknowledgement of a job to the first start of its handler."""
    runs, told = stage.ledger.runs(), stage.producer.acked_at
    return max((runs[job_id][0].started - at for job_id, at in told.items() if job_id in runs), default=0.0)


@row(
    "F29",
    "a slow network",
    "50 ms, then 500 ms from Redis and back, 20 % jitter",
    expects=lambda verdict: verdict.notes["taken back"] == 0,
)
def latency(stage: Stage, seconds: float) -> dict[str, Any]:
    for way_s in (0.025, 0.25):
        for actor in stage.actors:
            actor.proxy.delay_s = lambda way_s=way_s: way_s * stage.rng.uniform(0.8, 1.2)
        stage.wait(seconds / 2)
    return {"taken back": reaped(stage)}


def stalls(stage: Stage, seconds: float, each_s: float, **gates: bool) -> dict[str, Any]:
    """Again and again nothing passes for so long, on all ways."""

    def stall() -> None:
        with ExitStack() as stalled:
            for actor in stage.actors:
                stalled.enter_context(actor.proxy.stalled(**gates))
            stage.wait(each_s)

    repeated(stage, seconds, 2.0, stall)
    return {"taken back": reaped(stage)}


@row(
    "F30a", "the network stands still for less than a lease", f"{0.75 * LEASE_S:g} s", expects=lambda v: v.refused == 0
)
def short_stall(stage: Stage, seconds: float) -> dict[str, Any]:
    return stalls(stage, seconds, 0.75 * LEASE_S)


@row("F30b", "the network stands still for longer than a lease", f"{1.5 * LEASE_S:g} s")
def long_stall(stage: Stage, seconds: float) -> dict[str, Any]:
    return stalls(stage, seconds, 1.5 * LEASE_S)


@row("F31", "Redis ends all connections", "CLIENT KILL TYPE normal every second")
def kill_clients(stage: Stage, seconds: float) -> None:
    pids = stage.living()
    repeated(stage, seconds, 1.0, lambda: stage.server.client.execute_command("CLIENT KILL TYPE normal SKIPME yes"))
    assert stage.living() == pids


@row("F32", "one worker is cut off from Redis, the others are not", f"its proxy stalls {3 * LEASE_S:g} s")
def cut_off(stage: Stage, seconds: float) -> None:
    def isolate() -> None:
        with stage.rng.choice(stage.workers).proxy.stalled():
            stage.wait(3 * LEASE_S)

    repeated(stage, seconds, 2.0, isolate)


@row("F33", "a one-way network: requests arrive, answers do not", f"for {2 * LEASE_S:g} s at a time")
def one_way(stage: Stage, seconds: float) -> None:
    stalls(stage, seconds, 2 * LEASE_S, requests=False)
