"""The rows of the fault table that need the whole system under load. Each does its worst for a while; stage.py judges.

An act gets the stage, with its load already flowing, and a number of seconds to use; it returns what else is worth
telling. It may leave everything broken that ``Stage.heal`` mends: the proxies.
"""

from __future__ import annotations

import random
import resource
import shutil
import signal
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import redis
import requests
from redis.backoff import NoBackoff
from redis.retry import Retry

from jobqueue import Filter, JobQueue, NewJob
from tests.faults.proxy import APPLIED, BEFORE, Strike
from tests.faults.stage import LEASE_S, PREFIX, QUEUE, Stage, Verdict
from tests.harness import ROOT, Server, eventually

Act = Callable[[Stage, float], "dict[str, Any] | None"]


@dataclass(frozen=True)
class Row:
    """A fault, how it is injected, and what must be true besides a good verdict."""

    name: str
    fault: str
    injected: str
    act: Act
    expects: Callable[[Verdict], bool] = lambda verdict: True
    control: bool = False  # the verdict must be bad: it proves that the ledger sees a loss
    redis: Callable[[], Server] = Server
    setting: dict[str, Any] = field(default_factory=dict)

    def play(self, seconds: float, seed: int) -> tuple[Verdict, bool]:
        """The verdict, and whether it is what is promised."""
        stage = Stage(seed, server=self.redis(), **self.setting)
        try:
            stage.producer.start()
            stage.wait(1.0)
            notes = self.act(stage, seconds)
            verdict = stage.judge(stage.settle())
            verdict.notes |= notes or {}
            passed = verdict.good != self.control and self.expects(verdict)
            if not passed:
                print(stage.logs())
            return verdict, passed
        finally:
            stage.close()


ROWS: dict[str, Row] = {}


def row(name: str, fault: str, injected: str, **more: Any) -> Callable[[Act], Act]:
    def add(act: Act) -> Act:
        ROWS[name] = Row(name, fault, injected, act, **more)
        return act

    return add


def repeated(stage: Stage, seconds: float, every_s: float, act: Callable[[], object]) -> int:
    """Do it again and again for so long. Returns how often."""
    deadline, n = time.monotonic() + seconds, 0
    while time.monotonic() < deadline:
        act()
        n += 1
        stage.wait(every_s)
    return n


# --------------------------------------------------------------------------------------------------------- processes


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


# ----------------------------------------------------------------------------------------------------------- network


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


def reaped(stage: Stage) -> int:
    return int(stage.server.client.hget(PREFIX + "totals", "reaped") or 0)


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


# ------------------------------------------------------------------------------------------------------------- Redis


@row("F34", "Redis is killed and started again", "kill -9, append-only file, everysec")
def restart_redis(stage: Stage, seconds: float) -> dict[str, Any]:
    def restart() -> None:
        stage.server.kill()
        began = time.monotonic()
        stage.server.start()
        away.append(time.monotonic() - began)

    away: list[float] = []
    repeated(stage, seconds, 2.0, restart)
    return {"restarts": len(away), "Redis away": f"{max(away):.1f} s"}


@row(
    "F35",
    "power is lost: the append-only file ends at any byte",
    "copies of it cut at random bytes are loaded and checked",
)
def power_loss(stage: Stage, seconds: float) -> dict[str, Any]:
    stage.wait(3.0)
    tried = repeated(stage, seconds, 0.0, lambda: check_cut(stage))
    return {"cuts": tried, "clean": tried}


def check_cut(stage: Stage) -> None:
    """A Redis that lost the end of its file holds an earlier instant, whole."""
    copy = Server(start=False)
    try:
        shutil.copytree(stage.server.folder, copy.folder, dirs_exist_ok=True)
        last = max(Path(copy.folder).glob("appendonlydir/*.incr.aof"))
        size = last.stat().st_size
        with last.open("r+b") as file:
            file.truncate(stage.rng.randrange(size // 2, size))
        copy.start()
        wrong = JobQueue(copy.url).check(QUEUE)
        stage.observer.violations += [f"after a cut: {sentence}" for sentence in wrong]
    finally:
        copy.close()


@row(
    "F36",
    "control: Redis without an append-only file",
    "SHUTDOWN NOSAVE and start again: the ledger must see the loss",
    control=True,
    expects=lambda verdict: verdict.lost > 0,
    redis=lambda: Server("--appendonly", "no"),
)
def forgetful_redis(stage: Stage, seconds: float) -> None:
    stage.wait(seconds / 2)
    with suppress(redis.RedisError):
        redis.Redis(port=stage.server.port, retry=Retry(NoBackoff(), 0)).shutdown(nosave=True)
    stage.server.process.wait()
    stage.server.start()
    stage.wait(seconds / 2)


@row(
    "F37",
    "Redis does not answer for longer than its clients wait",
    "DEBUG SLEEP 6",
    redis=lambda: Server("--enable-debug-command", "yes"),
)
def sleeping_redis(stage: Stage, seconds: float) -> None:
    patient = redis.Redis(port=stage.server.port, socket_timeout=60)
    repeated(stage, seconds, 3.0, lambda: patient.execute_command("DEBUG", "SLEEP", "6"))


@row("F38", "Redis pauses its clients", "CLIENT PAUSE 5000 ALL, then WRITE")
def paused_redis(stage: Stage, seconds: float) -> None:
    def pause() -> None:
        stage.server.client.execute_command("CLIENT", "PAUSE", "5000", next(kinds))
        stage.wait(5.0)

    kinds = iter(["ALL", "WRITE"] * 100)
    repeated(stage, seconds, 1.0, pause)


@row(
    "F39",
    "Redis forgets the scripts",
    "SCRIPT FLUSH every 100 ms",
    expects=lambda verdict: not verdict.notes["answers that were errors"],
)
def flush_scripts(stage: Stage, seconds: float) -> dict[str, Any]:
    repeated(stage, seconds, 0.1, stage.server.client.script_flush)
    return {"answers that were errors": dict(stage.producer.statuses)}


@row(
    "F40",
    "Redis reaches maxmemory",
    "CONFIG SET maxmemory to a little more than is used; later none",
    expects=lambda verdict: verdict.notes["refused with 503"] > 0 and verdict.notes["jobs done while full"] > 0,
)
def full_memory(stage: Stage, seconds: float) -> dict[str, Any]:
    client = stage.server.client
    stage.producer.work = lambda n: {"type": "noted", "payload": {"n": n, "s": 0.3, "more": "x" * 3000}}
    stage.wait(2.0)
    client.config_set("maxmemory", client.info("memory")["used_memory"] + 100_000)
    eventually(lambda: stage.producer.statuses.get(503, 0) > 0, within_s=60)
    before = stage.queue.books(QUEUE).totals["done"]
    stage.wait(seconds)
    done = stage.queue.books(QUEUE).totals["done"] - before
    client.config_set("maxmemory", 0)
    stage.producer.work = stage.producer.usual
    return {"refused with 503": stage.producer.statuses[503], "jobs done while full": done}


@row(
    "F42",
    "the disk is full",
    "the append-only file may not grow (RLIMIT_FSIZE); later it may",
    expects=lambda verdict: verdict.notes["refused with 503"] > 0,
    redis=lambda: Server(ignore=[signal.SIGXFSZ]),
)
def full_disk(stage: Stage, seconds: float) -> dict[str, Any]:
    pid = stage.server.process.pid
    biggest = max(path.stat().st_size for path in Path(stage.server.folder).glob("appendonlydir/*"))
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (biggest + 20_000, resource.RLIM_INFINITY))
    eventually(lambda: stage.producer.statuses.get(503, 0) > 0, within_s=60)
    stage.wait(seconds)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    return {"refused with 503": stage.producer.statuses[503]}


@row(
    "F44",
    "Redis needs long to load",
    "kill -9, start with key-load-delay",
    redis=lambda: Server("--key-load-delay", "0"),
)
def slow_loading(stage: Stage, seconds: float) -> dict[str, Any]:
    stage.wait(2.0)
    stage.server.kill()
    stage.server.settings = ("--key-load-delay", "1000", "--loading-process-events-interval-bytes", "1024")
    began = time.monotonic()
    stage.server.start(within_s=60)
    return {"loading": f"{time.monotonic() - began:.1f} s"}


def with_movable_clock() -> Path:
    """A copy of the programs whose scripts add the seconds in the key ``clock`` to Redis's time."""
    folder = Path(tempfile.mkdtemp(prefix="jobqueue-clock-"))
    shutil.copytree(ROOT / "_jobqueue", folder / "_jobqueue")
    for module in ROOT.glob("*.py"):
        shutil.copy(module, folder)
    prelude = folder / "_jobqueue/lua/parts/prelude.lua"
    read = "local t = call('TIME')"
    assert read in prelude.read_text()
    prelude.write_text(prelude.read_text().replace(read, f"{read}\n  t[1] = t[1] + (call('GET', 'clock') or 0)"))
    return folder


@row(
    "F45",
    "Redis's clock jumps",
    "an hour forward, later an hour back, as the scripts read it",
    setting={"programs": with_movable_clock},
    expects=lambda verdict: verdict.notes["taken back"] == 0,
)
def clock_jumps(stage: Stage, seconds: float) -> dict[str, Any]:
    for shift_s in (3600, 0):
        stage.server.client.set("clock", shift_s)
        stage.wait(seconds / 2)
    return {"taken back": reaped(stage)}


WRONG_CLOCK = """import os, time
right = time.time
time.time = lambda: right() + float(os.environ["CLOCK_AHEAD_S"])
time.time_ns = lambda: int(time.time() * 1e9)
"""


@row("F46", "wrong clocks", "workers an hour ahead and behind, reapers a day ahead and behind, the API a day ahead")
def wrong_clocks(stage: Stage, seconds: float) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="jobqueue-clock-") as folder:
        (Path(folder) / "sitecustomize.py").write_text(WRONG_CLOCK)
        for actor, ahead_s in zip(stage.actors, (86400, 3600, -3600, 86400, -86400), strict=True):
            actor.environment |= {"PYTHONPATH": f"{ROOT}:{folder}", "CLOCK_AHEAD_S": str(ahead_s)}
            actor.program.stop(20)
            actor.start()
        stage.wait(seconds)
    return {"taken back": reaped(stage)}


# -------------------------------------------------------------------------------------------------------------- data


@row(
    "F51",
    "hands in the data",
    "hashes deleted, ids added to wrong indexes, an index deleted, a key of the wrong type; then check --repair",
    control=True,
    expects=lambda verdict: verdict.left == 0 and verdict.notes["violations after the repair"] == 0,
)
def poison(stage: Stage, seconds: float) -> dict[str, Any]:
    client = stage.server.client
    pids = stage.living()

    def spoil() -> None:
        queued = client.zrange(PREFIX + "queue", 0, 5) or client.zrange(PREFIX + "done", 0, 5)
        client.delete(*(f"{PREFIX}job:{job_id}" for job_id in queued[:1]))
        client.zadd(PREFIX + "queue", {f"ghost-{stage.rng.random()}": 1})
        client.zadd(PREFIX + "leases", dict.fromkeys(client.zrange(PREFIX + "done", 0, 2), 1))
        client.delete(PREFIX + stage.rng.choice(["scheduled", "queue", "leases", "bell"]))
        client.set(PREFIX + "bell", "not a list")
        stage.wait(1.0)
        client.delete(PREFIX + "bell")

    repeated(stage, seconds, 1.0, spoil)
    stage.producer.stop()
    for _ in range(2):
        stage.queue.check(QUEUE, repair=True)
        stage.wait(1.0)
    assert stage.living() == pids
    return {"violations after the repair": len(stage.queue.check(QUEUE))}


@row(
    "F52", "a huge backlog", "in a second queue: many queued, as many due in one second, a tenth as many expired leases"
)
def backlog(stage: Stage, seconds: float) -> dict[str, Any]:
    n, client, big = round(10_000 * seconds), stage.server.client, "big"
    client.config_set("slowlog-log-slower-than", 1000)
    client.config_set("slowlog-max-len", 10_000)
    due = datetime.now(timezone.utc) + timedelta(seconds=n / 5_000)
    submit_flood(stage.queue, n, run_at=due)
    submit_flood(stage.queue, n)
    link, left, seq = stage.queue.link(), n // 10, 0

    def claim(slot: str, want: int, lease_ms: int) -> int:
        return len(stage.queue.conversation(big, slot, lease_ms, link).exchange(want=want)[1])

    with ExitStack() as frozen:  # they would take back jobs that are then claimed a second time
        for reaper in stage.reapers:
            frozen.enter_context(reaper.frozen())
        while left > 0:
            seq += 1
            left -= claim(f"flood-{seq}", 64, 1)
    before = memory(client)

    def sizes() -> dict[str, int]:
        return stage.queue.books(big).sizes

    eventually(lambda: sizes()["queued"], equals=2 * n, within_s=600)
    claims = [timed(lambda at=at: claim(f"claim-{at}", 1, 60_000)) for at in range(500)]
    pages = [timed(lambda: stage.queue.page(Filter(queue=big), limit=50)) for _ in range(50)]
    link.close()
    slowest = max((entry["duration"] for entry in client.slowlog_get(10_000) if b"EVAL" in entry["command"]), default=0)
    assert not stage.queue.check(big)
    return {
        "jobs": f"{2 * n:,}",
        "slowest script": f"{slowest / 1000:.1f} ms",
        "bytes a job": round(before / (2 * n)),
        "claim p50": f"{1000 * statistics.median(claims):.2f} ms",
        "page of 50 p50": f"{1000 * statistics.median(pages):.1f} ms",
    }


def submit_flood(queue: JobQueue, n: int, **options: Any) -> None:
    for start in range(0, n, 1000):
        jobs = [NewJob("noted", {"n": at, "text": "x" * 80}, "big", **options) for at in range(start, start + 1000)]
        assert not any(answer.error for answer in queue.submit_many(jobs))


def memory(client: Any) -> int:
    return int(client.info("memory")["used_memory_dataset"])


def timed(call: Callable[[], object]) -> float:
    began = time.monotonic()
    call()
    return time.monotonic() - began


@row("F59", "operators race with the system", "cancel, delete, retry and run now, of jobs in any state, from 4 threads")
def race(stage: Stage, seconds: float) -> dict[str, Any]:
    said: dict[int, int] = {}
    deadline = time.monotonic() + seconds

    def operate(rng: random.Random) -> None:
        session, url = requests.Session(), f"http://127.0.0.1:{stage.port}"
        while time.monotonic() < deadline:
            recent = list(stage.producer.acked.values())[-200:]
            job_id, what = rng.choice(recent), rng.choice(["cancel", "retry", "run"] * 4 + ["delete"])
            stage.operated.add(job_id)
            if what == "delete":
                answer = session.delete(f"{url}/jobs/{job_id}", timeout=10)
                if answer.status_code == 204:
                    stage.deleted.add(job_id)
                    stage.undone += 1
            else:
                answer = session.post(f"{url}/jobs/{job_id}/{what}", timeout=10)
                stage.undone += what == "retry" and answer.ok
            said[answer.status_code] = said.get(answer.status_code, 0) + 1

    operators = [threading.Thread(target=operate, args=(random.Random(stage.rng.random()),)) for _ in range(4)]
    for operator in operators:
        operator.start()
    for operator in operators:
        operator.join()
    assert not any(status >= 500 for status in said), said
    return {"answers": dict(sorted(said.items()))}


@row("F4", "the API is killed", "kill -9 every 2 s, a new one at once; clients repeat under their keys")
def kill_api(stage: Stage, seconds: float) -> dict[str, Any]:
    return {"kills": repeated(stage, seconds, 2.0, stage.api.restart)}


def steady(seconds: float) -> Callable[[int], dict[str, Any]]:
    """Jobs that all take the same time and succeed."""
    return lambda n: {"type": "noted", "payload": {"n": n, "s": seconds}}
