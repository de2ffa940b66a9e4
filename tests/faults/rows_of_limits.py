"""Jobs under limits, while their workers die. Handlers tell the ledger; what it says must never exceed a limit."""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import cycle
from pathlib import Path
from typing import Any, TypeVar

from _jobqueue.limits import Limit
from jobqueue import NewJob
from tests.faults.ledger import Run
from tests.faults.row import reaped, repeated, row
from tests.faults.rows_of_redis import with_movable_clock
from tests.faults.stage import LEASE_S, PREFIX, QUEUE, QUIET_S, Stage, Verdict
from tests.harness import Server, eventually, free_port

HELD, NAMES_HELD = 100_000, 10_000  # of F68
SLOWER_MS = 50  # 10 are promised, of a machine that does nothing else
GATE, FAST = "gate", "fast"
MOST, STARTS, PER_S = 3, 8, 1
T = TypeVar("T")
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
    claims = [at for job_id, name in under.items() if name == FAST for at in started(stage, job_id)]
    return {
        "most at once": most_at_once([run for run in runs if run.started > since]),
        "most in a second": most_in_a_window(sorted(claims), PER_S * 1000),
        "permits left over": sum(client.scard(key) for key in client.scan_iter(f"{PREFIX}permits:*", 1000)),
    }


def started(stage: Stage, job_id: str) -> set[int]:
    """When its attempts were claimed, by Redis's clock."""
    fields = stage.server.client.hgetall(f"{PREFIX}job:{job_id}")
    records = [record.split()[4] for name, record in fields.items() if name.startswith("error:")]
    return {int(at) for at in (*records, fields.get("started", "-")) if at != "-"}


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


@row(
    "F67",
    "Redis's clock jumps while jobs wait for a rate; 2 APIs, 8 workers",
    f"an hour forward, an hour back, as the scripts read it, every 4 s; at most {STARTS} starts in {PER_S} s",
    setting={"programs": with_movable_clock},
    expects=lambda verdict: 0 < verdict.notes["most in a second"] <= STARTS,
)
def rates_and_jumps(stage: Stage, seconds: float) -> dict[str, Any]:
    load(stage)
    ports = (stage.port, free_port())
    stage.add("api.py", "--port", str(ports[1]), RATE_LIMIT_MAX="0", LOG_JOBS="failures")
    for _ in range(6):
        stage.add_worker()
    usual, shifts = stage.producer.usual, cycle([3600, 0])
    stage.producer.url = lambda: f"http://127.0.0.1:{stage.rng.choice(ports)}"
    stage.producer.work = lambda n: usual(n) | {"limits": [(FAST, GATE, "tenant:1", "tenant:2")[n % 4]]}
    jumps = repeated(stage, seconds, 4.0, lambda: stage.server.client.set("clock", next(shifts)))
    return {"jumps": jumps} | judged(stage)


@row(
    "F68",
    f"{HELD:,} jobs of {NAMES_HELD:,} names wait for limits, in front of all others",
    "submitted while the queue is paused; then the load goes on behind them",
    expects=lambda verdict: (
        verdict.notes["waiting for limits"] == HELD
        and verdict.notes["p50 wait of a free job behind them, ms"] <= verdict.notes["before, ms"] + SLOWER_MS
    ),
)
def held_in_front(stage: Stage, seconds: float) -> dict[str, Any]:
    stage.producer.work = lambda n: {"type": "noted", "payload": {"n": n}}
    stage.wait(seconds / 2)
    before_ms = wait_ms(stage, 0, time.monotonic() - 1)
    stage.queue.pause(QUEUE)
    held = submit_held(stage)
    resumed = time.monotonic()
    stage.queue.pause(QUEUE, False)

    def starts() -> list[float]:
        return [run.started - resumed for runs in stage.ledger.runs().values() for run in runs if run.started > resumed]

    first = min(eventually(starts, equals=bool, within_s=QUIET_S))
    waiting = stage.server.client.zcard(f"{PREFIX}held")
    eventually(lambda: stage.server.client.zcard(f"{PREFIX}queue") < 10, within_s=QUIET_S)
    since = time.monotonic()
    stage.wait(seconds / 2)
    behind_ms = wait_ms(stage, since, time.monotonic() - 1)
    for some in batched(held):
        stage.queue.act_on("cancel", some)
    return {
        "waiting for limits": waiting,
        "the first free job after": f"{first:.1f} s",
        "p50 wait of a free job behind them, ms": behind_ms,
        "before, ms": before_ms,
    }


def submit_held(stage: Stage) -> list[str]:
    """Jobs whose names have just started what they may start in a day. Their ids."""
    stage.queue.limits.put(QUEUE, "held:*", Limit(starts=1, per_s=86_400))
    names, now_ms = [f"held:{n}" for n in range(NAMES_HELD)], int(time.time() * 1000)
    with stage.server.client.pipeline() as pipeline:
        pipeline.zadd(f"{PREFIX}limited", dict.fromkeys(names, 0))
        for name in names:
            pipeline.lpush(f"{PREFIX}starts:{name}", now_ms)
        pipeline.execute()
    ids = list[str]()
    for some in batched(range(HELD)):
        jobs = [NewJob("noted", {}, priority=9, limits=[names[n % NAMES_HELD]]) for n in some]
        ids += [answer.job.id for answer in stage.queue.submit_many(jobs) if answer.job]
    stage.producer.acked |= {-n: job_id for n, job_id in enumerate(ids, 1)}
    return ids


def batched(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[at : at + 1000] for at in range(0, len(items), 1000))


def wait_ms(stage: Stage, since: float, until: float) -> float:
    """The median of the jobs that were acknowledged in that time, from then to their start."""
    runs, told = stage.ledger.runs(), stage.producer.acked_at
    waits = [runs[job_id][0].started - at for job_id, at in told.items() if since < at < until and job_id in runs]
    return round(statistics.median(waits) * 1000, 1)


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
