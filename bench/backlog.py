"""What a large backlog costs: a million queued jobs, a million that are due in the same second, a hundred thousand leases that
have run out.

    python bench/backlog.py                   about five minutes, 1.5 GB of memory
    python bench/backlog.py --jobs 100000     to try it out

Each part has a Redis of its own (append-only file on, everysec). "Longest script" is what Redis's slow log says; "longest wait"
is what another client saw that asked PING every 2 ms.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

import machine

from jobqueue import JobQueue, NewJob, __version__
from tests.harness import Server, System, eventually

PAYLOAD = "x" * 98  # 100 bytes as JSON
CALLS = ("/stats", "/jobs", "/jobs?status=queued&limit=200", "/jobs?type=rare", "/dlq", "/queues", "/metrics")
FILL_S_PER_JOB = 1e-4  # generous: what is to be due at once must not be due while it is submitted


class Watch:
    """Looks at Redis from outside while something happens in it."""

    def __init__(self, server: Server) -> None:
        self.server, self.waits, self._over = server, [0.0], threading.Event()
        self.longest_script_ms = 0.0

    @contextmanager
    def on(self) -> Iterator[Watch]:
        self.server.client.config_set("slowlog-log-slower-than", 1000)
        self.server.client.config_set("slowlog-max-len", 10_000)
        self.server.client.slowlog_reset()
        asking = threading.Thread(target=self._ask)
        asking.start()
        try:
            yield self
        finally:
            self._over.set()
            asking.join()
            entries = self.server.client.slowlog_get(10_000)
            scripts = [entry["duration"] / 1000 for entry in entries if b"EVAL" in entry["command"]]
            self.longest_script_ms = max(scripts, default=1.0)

    def _ask(self) -> None:
        while not self._over.wait(0.002):
            began = time.perf_counter()
            self.server.client.ping()
            self.waits.append(time.perf_counter() - began)


@contextmanager
def fresh() -> Iterator[tuple[System, JobQueue]]:
    system = System(Server())
    try:
        yield system, JobQueue(system.server.url, timeout_s=30)
    finally:
        system.close(show_logs=False)
        system.server.close()


def fill(queue: JobQueue, jobs: int, **options: Any) -> None:
    for start in range(0, jobs, 1000):
        queue.submit_many([NewJob("noop", PAYLOAD, **options)] * min(1000, jobs - start))


def claims(system: System, queue: JobQueue) -> float:
    """Median µs that Redis spends in a claim of one job."""
    talk, costs = queue.conversation("default", f"bench-{time.time_ns()}", 600_000), []
    for _ in range(500):
        system.server.client.config_resetstat()
        talk.exchange(want=1)
        costs.append(system.server.client.info("commandstats")["cmdstat_evalsha"]["usec"])
    return statistics.median(costs)


def calls(system: System) -> dict[str, float]:
    """Median ms of each call."""
    took: dict[str, list[float]] = {path: [] for path in CALLS}
    for _ in range(21):
        for path, times in took.items():
            began = time.perf_counter()
            assert system.get(path).status_code == 200
            times.append((time.perf_counter() - began) * 1000)
    return {path: statistics.median(times) for path, times in took.items()}


def queued(jobs: int) -> None:
    with fresh() as (system, queue):
        system.api(RATE_LIMIT_MAX="0")
        fill(queue, 1000)
        few, few_us = calls(system), claims(system, queue)
        with Watch(system.server).on() as watch:
            fill(queue, jobs)
        many, many_us = calls(system), claims(system, queue)
    print(f"| | 1,000 queued | {jobs:,} queued |\n|---|---|---|")
    print(f"| Redis time of a claim | {few_us:.0f} µs | {many_us:.0f} µs |")
    for path in CALLS:
        print(f"| GET {path} | {few[path]:.1f} ms | {many[path]:.1f} ms |")
    print(f"\nLongest script of the {jobs:,} submits, 250 jobs each: {watch.longest_script_ms:.1f} ms.", flush=True)


def due(jobs: int) -> None:
    with fresh() as (system, queue):
        when = datetime.now(timezone.utc) + timedelta(seconds=5 + jobs * FILL_S_PER_JOB)
        fill(queue, jobs, run_at=when)
        reaper = system.reaper()
        time.sleep(max(0.0, (when - datetime.now(timezone.utc)).total_seconds()))
        with Watch(system.server).on() as watch:
            began = time.perf_counter()
            eventually(lambda: queue.books("default").sizes["queued"], equals=jobs, within_s=600)
            took = time.perf_counter() - began
        reaper.stop()
    report(f"{jobs:,} due in one second", took, watch)


def expired(jobs: int) -> None:
    with fresh() as (system, queue):
        fill(queue, jobs)
        link = queue.link()
        for number in range(jobs // 250):
            queue.conversation("default", f"bench-{number}", 1, link).exchange(want=250)
        with Watch(system.server).on() as watch:
            began = time.perf_counter()
            system.reaper()
            eventually(lambda: queue.books("default").sizes["queued"], equals=jobs, within_s=600)
            took = time.perf_counter() - began
    report(f"{jobs:,} leases that ran out", took, watch)


def report(what: str, took_s: float, watch: Watch) -> None:
    script_ms, wait_ms = watch.longest_script_ms, max(watch.waits) * 1000
    print(f"| {what} | {took_s:.1f} s | {script_ms:.1f} ms | {wait_ms:.0f} ms |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1_000_000, help="(default %(default)s)")
    jobs = parser.parse_args().jobs
    print(f"jobqueue {__version__}, Redis {machine.redis_version()}; {machine.described()}\n", flush=True)
    queued(jobs)
    print(
        "\n| | until all wait in the queue | longest script | longest wait of others |\n|---|---|---|---|", flush=True
    )
    due(jobs)
    expired(jobs // 10)


if __name__ == "__main__":
    main()
