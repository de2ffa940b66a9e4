"""Measures jobqueue beside other job queues on Redis: one machine, one run, one method. Linux only.

    python bench/peers.py                              everything, three runs: about 35 minutes
    python bench/peers.py --only jobqueue,huey --runs 1
    python bench/peers.py --small                      a tenth of the jobs, one run, to try it out

Prints Markdown. Quote ratios of one run, not numbers of two machines, and run it on a machine that does nothing else.

Each system gets a fresh Redis for each part (append-only file on, everysec) and one worker process with 8 slots (rq has one).
Results are stored, and logs of single jobs are off. Where a documented setting makes it run the jobs of a killed worker again, it is
used: 'durable' is a system that does so, and jobqueue is compared to the best of these.

Every handler, in all systems, appends a record of fixed size to a file, and these records alone are counted. Each job must leave one,
and a system that ran a job twice is named. ``bench/peers`` has a small module for each system. Their latest versions are installed
into .venv/peers the first time, from npm where there is node.

    enqueue   one by one, straight into Redis from one process that waits for each
    bulk      the same with the system's own call for many, 1,000 at a time
    drain     no-op jobs from a full queue, by the times of their records, the first twentieth left out. All cores are busy
              by themselves. In the other parts, where one waits for another, they are kept from halting
    latency   from just before the submit to the start of the handler, a job every 20 ms
    I/O       jobs that sleep 10 ms; 8 slots could do 800 a second
    Redis     its CPU time and memory for each job, measured with N jobs and with one: the difference is theirs
              (connections, scripts and all else that does not grow is in both). 'Finished' is what is kept at the end
    RSS       of the worker and its children after the drain, and that beside a Python that imported redis-py
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ADAPTERS = ROOT / "bench/peers"
sys.path[:0] = [str(ROOT), str(ADAPTERS)]

import machine
import redis
from jobs import IO_S, RECORD, TEXT

from jobqueue import __version__
from tests.harness import Server, eventually

VENVS = ROOT / ".venv/peers"
SLOTS = 8
WARM_STAMPS = 10
SETTLE_S = 1.5  # the append-only file is written, the last answers have arrived
STOP_S = 3.0

Figures = dict[str, float]


@dataclass(frozen=True)
class Peer:
    name: str
    adapter: str
    worker: str
    packages: str = ""  # the first is the one to name the version of; none: jobqueue, run by this Python
    durable: bool = True  # the job of a worker that was killed is run again
    bulk: bool = False
    slots: int = SLOTS
    jobs: int = 10_000
    io_jobs: int = 2_000
    stamps: int = 500
    one_core: int = 0

    @property
    def ours(self) -> bool:
        return not self.packages

    @property
    def on_node(self) -> bool:
        return self.adapter.endswith(".mjs")

    @property
    def folder(self) -> Path:
        return VENVS / self.name

    def command(self, text: str) -> list[str]:
        folder = self.folder / "bin"
        python = Path(sys.executable) if self.ours else folder / "python"
        names = {"bin": folder, "python": python, "adapters": ADAPTERS, "root": ROOT, "slots": SLOTS}
        return [word.format(**names) for word in text.split()]


OURS = "{python} {root}/worker.py --threads {slots} --handlers on_jobqueue"
REAPER = "{python} {root}/reaper.py"
HUEY = "{bin}/huey_consumer on_huey.huey -w {slots} -k thread -q"
DRAMATIQ = "{bin}/dramatiq -p 1 -t {slots} --skip-logging on_dramatiq"
CELERY = "{bin}/celery -A on_celery worker -P threads -c {slots} -l ERROR --without-gossip --without-mingle --without-heartbeat"
RQ = "{bin}/rq worker -q -w rq.SimpleWorker bench"
ARQ = "{python} {adapters}/on_arq.py"
SAQ = "{bin}/saq on_saq.settings"
TASKIQ = "{bin}/taskiq worker -w 1 --max-async-tasks {slots} --log-level ERROR on_taskiq:broker"
BULLMQ = "{python} {adapters}/on_bullmq.py"
BULLMQ_NODE = "node {adapters}/on_bullmq.mjs work"

PEERS = (  # the quick ones get more jobs: of 40,000, too, Redis uses five eighths of the slots of a hash table
    Peer("jobqueue", "on_jobqueue", OURS, bulk=True, jobs=40_000),
    Peer("jobqueue, ONE_CORE=1", "on_jobqueue", OURS, bulk=True, jobs=40_000, one_core=1),
    Peer("huey", "on_huey", HUEY, "huey redis[hiredis]", durable=False),
    Peer("dramatiq", "on_dramatiq", DRAMATIQ, "dramatiq[redis] hiredis", bulk=True),
    Peer("celery", "on_celery", CELERY, "celery[redis] hiredis", bulk=True),
    Peer("rq", "on_rq", RQ, "rq redis[hiredis]", bulk=True, slots=1, io_jobs=1_000),
    Peer("arq", "on_arq", ARQ, "arq hiredis", io_jobs=300),
    Peer("saq", "on_saq", SAQ, "saq[redis,hiredis] typing_extensions"),  # which it imports without requiring it
    Peer("taskiq", "on_taskiq", TASKIQ, "taskiq taskiq-redis hiredis"),
    Peer("bullmq-python", "on_bullmq", BULLMQ, "bullmq hiredis", bulk=True),
    Peer("bullmq-node", "on_bullmq.mjs", BULLMQ_NODE, "bullmq ioredis", bulk=True, jobs=40_000),
)


class Trial:
    """A system on a Redis of its own."""

    def __init__(self, peer: Peer) -> None:
        self.peer, self.server = peer, Server()
        self.file, self.log = (Path(self.server.folder) / name for name in ("records", "worker.log"))
        self.file.touch()
        self.processes: list[subprocess.Popen[bytes]] = []
        self.environment = os.environ | {
            "REDIS_URL": self.server.url,
            "RQ_REDIS_URL": self.server.url,
            "RECORDS": str(self.file),
            "SLOTS": str(SLOTS),
            "TEXT": TEXT,
            "NODE_FOLDER": str(peer.folder),
            "PYTHONPATH": f"{ADAPTERS}:{ROOT}" if peer.ours else str(ADAPTERS),
            "PYTHONDONTWRITEBYTECODE": "1",
            "LOG_JOBS": "failures",
            "ONE_CORE": str(peer.one_core),
        }

    def send(self, what: str, jobs: int) -> float:
        """Seconds that it took, without the first of the jobs."""
        adapters = (
            "node {adapters}/on_bullmq.mjs" if self.peer.on_node else "{python} {adapters}/send.py " + self.peer.adapter
        )
        argv = self.peer.command(f"{adapters} {what} {jobs}")
        where = {"env": self.environment, "cwd": self.server.folder}
        with machine.awake():
            done = subprocess.run(argv, **where, capture_output=True, text=True, timeout=300)
        assert not done.returncode, done.stderr[-500:]
        return float(done.stdout.split()[-1])

    def work(self) -> None:
        """Start a worker (the first of the processes), and the reaper that ours relies on."""
        log = open(self.log, "ab")
        for command in (self.peer.worker, REAPER) if self.peer.ours else (self.peer.worker,):
            argv, where = self.peer.command(command), {"env": self.environment, "cwd": self.server.folder}
            self.processes.append(subprocess.Popen(argv, **where, stdin=subprocess.DEVNULL, stdout=log, stderr=log))

    def records(self) -> list[tuple[float, float]]:
        return sorted(RECORD.iter_unpack(self.file.read_bytes()))

    def ran(self, jobs: int) -> dict[float, float]:
        """Wait for so many jobs: the value of each, and the time of its first record."""

        def missing() -> int:
            assert all(process.poll() is None for process in self.processes), self.log.read_text()[-500:]
            found = self.file.stat().st_size // RECORD.size
            return jobs - (found if found < jobs else len({value for _, value in self.records()}))

        eventually(missing, equals=0, within_s=300)
        return {value: time for time, value in reversed(self.records())}

    def ran_all(self, jobs: int) -> list[float]:
        """Wait until each of the jobs has run: the times, in order."""
        first = self.ran(jobs)
        assert set(first) == set(range(jobs)), "records of unknown jobs"
        return sorted(first.values())

    def rest(self) -> None:
        """Stop the worker, with all that it started."""
        pids = [pid for process in self.processes if process.poll() is None for pid in machine.tree(process.pid)]
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                pass
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        for process in self.processes:
            process.wait()
        self.processes.clear()

    def redis_cpu_ms(self) -> float:
        used = self.server.client.info("cpu")
        return 1000 * float(used["used_cpu_user"] + used["used_cpu_sys"])


@contextmanager
def trial(peer: Peer) -> Iterator[Trial]:
    each = Trial(peer)
    try:
        yield each
    finally:
        each.rest()
        each.server.close()


def rate(times: list[float]) -> float:
    first = len(times) // 20
    return (len(times) - 1 - first) / (times[-1] - times[first])


def life(peer: Peer, jobs: int) -> tuple[Figures, list[float]]:
    """From submit to end. Figures of this run, and what Redis used: ms of CPU to enqueue and to run, bytes then."""
    with trial(peer) as each:
        start_ms = each.redis_cpu_ms()
        seconds = each.send("noop", jobs)
        time.sleep(SETTLE_S)
        queued_ms, queued_bytes = each.redis_cpu_ms(), machine.used_bytes(each.server)
        each.work()
        times = each.ran_all(jobs)
        time.sleep(SETTLE_S)
        finished_ms = each.redis_cpu_ms()
        rss = [machine.rss_bytes(machine.tree(process.pid)) / 2**20 for process in each.processes]
        repeats = len(each.records()) - jobs
        each.rest()
        used = [queued_ms - start_ms, finished_ms - queued_ms, queued_bytes, machine.used_bytes(each.server)]
    figures = {"rss_mb": rss[0], "beside_mb": sum(rss[1:]), "repeats": repeats}
    return figures | ({"enqueue": (jobs - 1) / seconds, "drain": rate(times)} if jobs > 1 else {}), used


@cache
def empty_run(peer: Peer) -> list[float]:
    """What Redis uses for a single job is what it uses for everything but jobs."""
    return life(peer, 1)[1]


def whole(peer: Peer) -> Figures:
    figures, used = life(peer, peer.jobs)
    each = [(amount - constant) / (peer.jobs - 1) for amount, constant in zip(used, empty_run(peer), strict=True)]
    figures |= zip(("enqueue_ms", "run_ms", "queued_bytes", "finished_bytes"), each, strict=True)
    return figures | {"redis_ms": each[0] + each[1], "rss_ratio": figures["rss_mb"] / bare_mb()}


def bulk(peer: Peer) -> Figures:
    if not peer.bulk:
        return {}
    with trial(peer) as each:
        return {"bulk": (peer.jobs - 1) / each.send("bulk", peer.jobs)}


def latency(peer: Peer) -> Figures:
    with trial(peer) as each:
        each.work()
        each.send("stamp", 1)
        each.ran(1)
        time.sleep(SETTLE_S)
        each.send("stamp", peer.stamps)
        started = each.ran(1 + peer.stamps)
    waits = sorted(1000 * (started[submitted] - submitted) for submitted in sorted(started)[1 + WARM_STAMPS :])
    return {"p50": statistics.median(waits), "p99": waits[int(0.99 * len(waits))]}


def io(peer: Peer) -> Figures:
    with trial(peer) as each:
        each.send("io", peer.io_jobs)
        each.work()
        with machine.awake():
            done = rate(each.ran_all(peer.io_jobs))
    return {"io": done, "io_share": done * IO_S / SLOTS}


@cache
def bare_mb() -> float:
    """RSS of a Python that has imported redis-py and nothing else."""
    show = "import redis; print(open('/proc/self/statm').read().split()[1])"
    pages = subprocess.run([sys.executable, "-c", show], capture_output=True, text=True, check=True).stdout
    return int(pages) * os.sysconf("SC_PAGE_SIZE") / 2**20


def install(peer: Peer) -> str:
    """Its version. AssertionError, CalledProcessError: it cannot be had."""
    if peer.ours:
        return __version__
    packages = peer.packages.split()
    name = packages[0].partition("[")[0]
    if not peer.on_node:
        ask = [
            machine.virtualenv(peer.folder, packages),
            "-c",
            f"from importlib.metadata import *; print(version('{name}'))",
        ]
    else:
        assert shutil.which("node") and shutil.which("npm"), "there is no node with npm"
        made = peer.folder / "node_modules"
        if not made.exists():
            print(f"installing {peer.packages} into {peer.folder}", file=sys.stderr)
            subprocess.run(["npm", "install", "--silent", "--prefix", peer.folder, *packages], check=True)
        ask = ["node", "-p", f"require('{made}/{name}/package.json').version"]
    return subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip()


def measure(peer: Peer) -> tuple[Figures, list[str]]:
    """All figures of one run, and what went wrong."""
    figures: Figures = {}
    errors = []
    for part in (whole, bulk, latency, io):
        try:
            figures |= part(peer)
        except (AssertionError, subprocess.SubprocessError) as error:
            errors.append(f"{peer.name}, {part.__name__}: {error}")
    return figures, errors


@dataclass(frozen=True)
class Column:
    title: str
    figure: str  # the one to compare
    shown: str
    best: Callable[..., float] = max


COLUMNS = (
    Column("enqueue/s", "enqueue", "{enqueue:,.0f}"),
    Column("bulk/s", "bulk", "{bulk:,.0f}"),
    Column("drain/s (min–max)", "drain", "{drain:,.0f} ({drain_min:,.0f}–{drain_max:,.0f})"),
    Column("latency p50 ms", "p50", "{p50:.2f}", min),
    Column("latency p99 ms", "p99", "{p99:.2f}", min),
    Column("I/O jobs/s (of 800)", "io", "{io:,.0f} ({io_share:.0%})"),
    Column("Redis CPU ms/job (enqueue + run)", "redis_ms", "{redis_ms:.3f} ({enqueue_ms:.3f} + {run_ms:.3f})", min),
    Column("Redis B/job queued", "queued_bytes", "{queued_bytes:,.0f}", min),
    Column("Redis B/job finished", "finished_bytes", "{finished_bytes:,.0f}", min),
    Column("worker RSS MB (× bare)", "rss_mb", "{rss_mb:.0f} ({rss_ratio:.1f} ×)", min),
)


def summary(runs: list[Figures]) -> Figures:
    """Medians, and the range of the drains."""
    figures = {name: statistics.median(run[name] for run in runs if name in run) for name in set().union(*runs)}
    drains = [run["drain"] for run in runs if "drain" in run]
    return figures | ({"drain_min": min(drains), "drain_max": max(drains)} if drains else {})


def row(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def table(results: dict[Peer, Figures]) -> Iterator[str]:
    yield row("", "durable", "slots", *(column.title for column in COLUMNS))
    yield "|---" * (3 + len(COLUMNS)) + "|"
    for peer, figures in results.items():
        cells = (column.shown.format(**figures) if column.figure in figures else "–" for column in COLUMNS)
        yield row(peer.name, "yes" if peer.durable else "no", peer.slots, *cells)


def ratios(results: dict[Peer, Figures]) -> Iterator[str]:
    """How many times better than the best of the durable peers ours is, in each column: above 1 is better."""
    mine = [peer for peer in results if peer.ours]
    yield row("", "best durable peer", *(f"{peer.name}: times better" for peer in mine))
    yield "|---" * (2 + len(mine)) + "|"
    for column in COLUMNS:
        by_figure = {
            figures[column.figure]: peer.name
            for peer, figures in results.items()
            if peer.durable and not peer.ours and column.figure in figures
        }
        if by_figure:
            best = column.best(by_figure)
            cells = (times_better(column, results[peer].get(column.figure), best) for peer in mine)
            yield row(column.title.partition(" (")[0], by_figure[best], *cells)


def times_better(column: Column, figure: float | None, other: float) -> str:
    if figure is None:
        return "–"
    return f"{figure / other if column.best is max else other / figure:.2f}"


def notes(results: dict[Peer, Figures], errors: list[str]) -> Iterator[str]:
    for peer, figures in results.items():
        if figures.get("repeats"):
            yield f"{peer.name}: of the drain's jobs, {figures['repeats']:.0f} ran more than once."
        if figures.get("beside_mb") and not peer.one_core:
            yield f"{peer.name}: its reaper, of which one is enough for all workers, has an RSS of {figures['beside_mb']:.0f} MB."
    yield from (f"Failed: {error}" for error in errors)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = list(dict.fromkeys(peer.name.partition(",")[0] for peer in PEERS))
    parser.add_argument("--only", default=",".join(names), help="some of them (default %(default)s)")
    parser.add_argument("--runs", type=int, default=3, help="median of so many (default %(default)s)")
    parser.add_argument("--small", action="store_true", help="a tenth of the jobs, one run")
    options = parser.parse_args()
    if unknown := set(options.only.split(",")) - set(names):
        parser.error(f"no such peer: {', '.join(unknown)}")
    if options.small:
        options.runs = 1
    return options


def installed(options: argparse.Namespace) -> Iterator[tuple[Peer, str]]:
    """Whom to measure, with their versions. Says who is left out."""
    for peer in PEERS:
        if peer.name.partition(",")[0] in options.only.split(","):
            try:
                version = install(peer)
            except (AssertionError, subprocess.CalledProcessError) as error:
                print(f"{peer.name} is left out: {error}", file=sys.stderr)
            else:
                share = 10 if options.small else 1
                yield smaller(peer, share), version


def smaller(peer: Peer, share: int) -> Peer:
    return replace(peer, jobs=peer.jobs // share, io_jobs=peer.io_jobs // share, stamps=peer.stamps // share)


def main() -> int:
    options = parse()
    versions = dict(installed(options))
    runs: dict[Peer, list[Figures]] = {peer: [] for peer in versions}
    errors: list[str] = []
    for number in range(1, options.runs + 1):
        for peer in runs:
            began = time.monotonic()
            figures, failed = measure(peer)
            runs[peer].append(figures)
            errors += failed
            print(f"run {number}, {peer.name}: {time.monotonic() - began:.0f} s", *failed, file=sys.stderr)
    results = {peer: summary(figures) for peer, figures in runs.items()}
    print("\n".join([*table(results), "", *ratios(results)]))
    print(
        f"\n{', '.join(f'{peer.name} {version}' for peer, version in versions.items() if not peer.one_core)}; "
        f"Python {platform.python_version()}, redis-py {redis.__version__}, Redis {machine.redis_version()} (AOF everysec); "
        f"{machine.described()}; "
        f"median of {options.runs} runs. A Python with redis-py alone: {bare_mb():.0f} MB."
    )
    for note in notes(results, errors):
        print(f"\n{note}")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
