"""Redis is killed, sleeps, forgets, is full, or has a wrong clock."""

from __future__ import annotations

import resource
import shutil
import signal
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from jobqueue import JobQueue
from tests.faults.row import reaped, repeated, row
from tests.faults.stage import QUEUE, Stage
from tests.harness import ROOT, Server, eventually


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
