"""Jobs under limits, while their workers die. Handlers tell the ledger; what it says must never exceed a limit."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from _jobqueue.limits import Limit
from tests.faults.ledger import Run
from tests.faults.row import reaped, repeated, row
from tests.faults.stage import LEASE_S, PREFIX, QUEUE, QUIET_S, Stage, Verdict
from tests.harness import Server, eventually

GATE, FAST = "gate", "fast"
MOST, STARTS, PER_S = 3, 8, 1
NAMES = (GATE, FAST, "tenant:1", "tenant:2")


def within_limits(verdict: Verdict) -> bool:
    notes = verdict.notes
    kept = 0 < notes["most at once"] <= MOST and 0 < notes["most in a second"] <= STARTS
    return bool(kept and notes["permits left over"] == 0)


def load(stage: Stage) -> None:
    """Every other job names a limit."""
    stage.queue.limits.put(QUEUE, GATE, Limit(max_running=MOST))
    stage.queue.limits.put(QUEUE, FAST, Limit(starts=STARTS, per_s=PER_S))
    usual = stage.producer.usual
    stage.producer.work = lambda n: usual(n) | ({"limits": [NAMES[n // 2 % 4]]} if n % 2 else {})


def judged(stage: Stage, since: float = 0.0) -> dict[str, Any]:
    """What the ledger says of runs that began after `since`, when all that waited has been let in; and what permits are left."""
    stage.heal()
    stage.producer.stop()
    ended = ("done", "failed", "cancelled")
    eventually(
        lambda: sum(n for status, n in stage.queue.books(QUEUE).sizes.items() if status not in ended),
        equals=0,
        within_s=QUIET_S,
    )
    client = stage.server.client
    under = {job_id: name for job_id in list(stage.producer.acked.values()) if (name := _limit_of(stage, job_id))}
    gated = [some for job_id, some in stage.ledger.runs().items() if under.get(job_id) == GATE]
    runs = [run for some in gated for run in fenced(stage, some)]
    claims = [client.hget(f"{PREFIX}job:{job_id}", "started") for job_id, name in under.items() if name == FAST]
    return {
        "most at once": most_at_once([run for run in runs if run.started > since]),
        "most in a second": most_in_a_window(sorted(int(at) for at in claims if at), PER_S * 1000),
        "permits left over": sum(client.scard(key) for key in client.scan_iter(f"{PREFIX}permits:*", 1000)),
    }


def fenced(stage: Stage, runs: Iterable[Run]) -> Iterator[Run]:
    """The runs of a job; one whose lease was taken back ended then, whatever its handler still does."""
    ahead_s = time.time() - time.monotonic()
    for run in runs:
        fields = stage.server.client.hgetall(f"{PREFIX}job:{run.job_id}")
        for name, record in fields.items():
            if name.startswith("error:"):
                at, attempt, kind = record.split()[:3]
                if run.ended and int(attempt) == run.attempt and kind in ("lease_expired", "dropped"):
                    run = run._replace(ended=min(run.ended, int(at) / 1000 - ahead_s))
        yield run


@row(
    "F66",
    "workers die while they hold permits; limits are lowered, raised and deleted under load",
    "kill -9 or SIGTERM every half second, a new one at once; at most 3 of one limit at once, 8 a second of another",
    expects=within_limits,
)
def permits_of_the_dead(stage: Stage, seconds: float) -> dict[str, Any]:
    load(stage)
    limits = stage.queue.limits
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
    return {"replaced": replaced} | judged(stage)


@row(
    "F66b",
    "workers that hold permits stand still or are cut off for longer than their leases",
    f"SIGSTOP, or the proxy stalls, {1.5 * LEASE_S:g} s, two of three at a time; now and then kill -9 and the API too",
    expects=within_limits,
)
def permits_of_the_frozen(stage: Stage, seconds: float) -> dict[str, Any]:
    load(stage)
    workers = [*stage.workers, stage.add_worker()]

    def strike() -> None:
        with ExitStack() as struck:
            for worker in stage.rng.sample(workers, 2):
                struck.enter_context(worker.frozen() if stage.rng.random() < 0.5 else worker.proxy.stalled())
            if stage.rng.random() < 0.3:
                stage.rng.choice([stage.api, *stage.reapers]).restart()
            stage.wait(1.5 * LEASE_S)

    return {"struck": 2 * repeated(stage, seconds, 0.5, strike), "taken back": reaped(stage)} | judged(stage)


@row(
    "F66c",
    "Redis is killed while permits are held",
    "kill -9 every second, append-only file, appendfsync always",
    redis=lambda: Server("--appendfsync", "always"),
    expects=within_limits,
)
def permits_of_a_killed_redis(stage: Stage, seconds: float) -> dict[str, Any]:
    load(stage)

    def restart() -> None:
        stage.server.kill()
        stage.server.start()

    return {"restarts": repeated(stage, seconds, 1.0, restart)} | judged(stage)


@row(
    "F66d",
    "an older file of Redis is put back, with permits of jobs that have ended since",
    "kill -9, its folder as it was some seconds ago, start; what was acknowledged since then is lost and must be seen to be",
    control=True,
    redis=lambda: Server("--appendfsync", "always"),
    expects=lambda verdict: verdict.lost > 0 and not verdict.violations and not verdict.left and within_limits(verdict),
)
def permits_of_a_restore(stage: Stage, seconds: float) -> dict[str, Any]:
    load(stage)
    stage.wait(seconds / 3)
    eventually(lambda: stage.server.client.scard(f"{PREFIX}permits:{GATE}") > 0)
    with tempfile.TemporaryDirectory(prefix="jobqueue-older-") as older:
        shutil.copytree(Path(stage.server.folder) / "appendonlydir", Path(older) / "appendonlydir")
        stage.wait(seconds / 3)
        stage.server.kill()
        shutil.rmtree(Path(stage.server.folder) / "appendonlydir")
        shutil.copytree(Path(older) / "appendonlydir", Path(stage.server.folder) / "appendonlydir")
        stage.server.start()
    stage.observer.ended.clear()  # what has ended since then may end otherwise
    stage.server.killed_at.clear()  # what is lost is lost by the restore
    restored = time.monotonic()
    held = sum(stage.server.client.scard(key) for key in stage.server.client.scan_iter(f"{PREFIX}permits:*", 1000))
    stage.wait(seconds / 3)
    return {"permits in the file": held} | judged(stage, restored)


def _limit_of(stage: Stage, job_id: str) -> str | None:
    name: str | None = stage.server.client.hget(f"{PREFIX}job:{job_id}", "limits")
    return name


def most_at_once(runs: Sequence[Run]) -> int:
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
