"""How fast workers drain with what else there is switched on, beside the same jobs without it, in turn, in one run.

    python bench/features.py                     about six minutes
    python bench/features.py --jobs 5000         to try it out
    python bench/features.py --postgres          the record also in a PostgreSQL of its own, from the system's packages

One worker process with 8 threads. Jobs that do nothing, in batches as the worker chooses them, results stored. Redis with its
append-only file on (everysec). A workflow: one job, 998 that wait for it, one that waits for these.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

import machine

from _jobqueue.limits import Limit
from bench import PAYLOAD, fresh, start_worker
from jobqueue import JobQueue, NewJob, __version__
from tests.harness import System, eventually
from tests.postgres import Postgres

ROUNDS, CHUNK, WORKFLOW, TYPES, TENANTS = 3, 1000, 1000, 200, 1000
ROOMY = Limit(max_running=1000)
Made = Callable[[int], NewJob]
Rates = list[float]


def plain(n: int) -> NewJob:
    return NewJob("noop", PAYLOAD)


def of_200_types(n: int) -> NewJob:
    return NewJob(f"noop-{n % TYPES}", PAYLOAD)


def limited(n: int) -> NewJob:
    return NewJob("noop", PAYLOAD, limits=["api"])


def fair(n: int) -> NewJob:
    return NewJob("noop", PAYLOAD, fair_key=f"tenant-{n % TENANTS}")


def limited_and_fair(n: int) -> NewJob:
    return NewJob("noop", PAYLOAD, limits=["api"], fair_key=f"tenant-{n % TENANTS}")


def workflow(n: int) -> NewJob:
    at = n % WORKFLOW
    if at == 0:
        return NewJob("noop", PAYLOAD, name="first")
    if at < WORKFLOW - 1:
        return NewJob("noop", PAYLOAD, name=f"n{at}", after=["first"])
    return NewJob("noop", PAYLOAD, after=[f"n{each}" for each in range(1, at)])


FEATURES: dict[str, Made] = {
    "nothing else": plain,
    "200 types in turn": of_200_types,
    "each job names a limit with room": limited,
    "1,000 fair keys": fair,
    "both": limited_and_fair,
    "workflows of 1,000 jobs": workflow,
}


def fill(queue: JobQueue, made: Made, jobs: int) -> float:
    """Returns how many a second."""
    began = time.perf_counter()
    for start in range(0, jobs, CHUNK):
        stored = queue.submit_many([made(n) for n in range(start, start + CHUNK)])
        assert not any(each.error for each in stored), stored
    return jobs / (time.perf_counter() - began)


def timed(left: Callable[[], int], jobs: int) -> float:
    """Jobs a second from the first that is gone to the last."""
    first = eventually(left, equals=lambda n: n < jobs, within_s=60)
    began = time.perf_counter()
    eventually(left, equals=0, within_s=600)
    return first / (time.perf_counter() - began)


def drained(place: System, jobs: int) -> float:
    done: Callable[[], int] = lambda: jobs - place.server.client.zcard("jq:{default}:done")  # noqa: E731
    process = start_worker(place, 64, BENCH_TYPES=str(TYPES))
    try:
        return timed(done, jobs)
    finally:
        process.terminate()
        process.wait()


def with_feature(made: Made, jobs: int) -> Rates:
    """Submits and ends of jobs a second."""
    with fresh() as place:
        queue = JobQueue(place.server.url)
        queue.limits.put("default", "api", ROOMY)
        place.reaper()  # it tells the many who wait for one job
        return [fill(queue, made, jobs), drained(place, jobs)]


def with_record(url: str, jobs: int) -> Rates:
    """Submits and ends of jobs a second while a record is kept, but nobody writes it. And rows a second that it then writes."""
    with fresh() as place:
        queue = JobQueue(place.server.url)
        fill(queue, plain, CHUNK)  # the queue is there
        first = place.start("history.py", "--database", url)
        first.says("keeping a record")
        first.stop()
        rates = [fill(queue, plain, jobs), written(place, url)]
        rates += [drained(place, jobs + CHUNK), written(place, url)]
        return rates


def written(place: System, url: str) -> float:
    """Rows a second, once nothing changes any more."""
    marks: Callable[[], int] = lambda: place.server.client.zcard("jq:{default}:unsaved")  # noqa: E731
    waiting = marks()
    program = place.start("history.py", "--database", url)
    rate = timed(marks, waiting)
    program.stop()
    return rate


def told(rates: list[float]) -> str:
    return f"{statistics.median(rates):,.0f} ({min(rates):,.0f}–{max(rates):,.0f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=100_000, help="of each part, in thousands (default %(default)s)")
    parser.add_argument("--postgres", action="store_true")
    options = parser.parse_args()
    print(
        f"jobqueue {__version__}, Python {platform.python_version()}, Redis {machine.redis_version()} (AOF everysec); "
        f"{machine.described()}; {options.jobs:,} jobs; median (min–max) of {ROUNDS} rounds\n"
    )
    of_features: dict[str, list[Rates]] = {name: [] for name in FEATURES}
    of_records: dict[str, list[Rates]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for n in range(ROUNDS):
            for name, made in FEATURES.items():
                of_features[name].append(with_feature(made, options.jobs))
                print(f"round {n + 1}, {name}: {told(of_features[name][-1][-1:])} ends/s", file=sys.stderr)
            of_records.setdefault("SQLite", []).append(with_record(f"sqlite:///{folder}/{n}.db", options.jobs))
            if options.postgres:
                database = Postgres(fsync="on")
                of_records.setdefault("PostgreSQL", []).append(with_record(database.url, options.jobs))
                database.close()
    table(["with", "submits/s", "ends/s"], of_features)
    table(["a record in", "submits/s, marked", "rows/s, new", "ends/s, marked", "rows/s, changed"], of_records)


def table(head: list[str], rows: dict[str, list[Rates]]) -> None:
    print(f"| {' | '.join(head)} |\n{'|---' * len(head)}|")
    for name, rounds in rows.items():
        print(f"| {name} | {' | '.join(told(list(each)) for each in zip(*rounds, strict=True))} |")
    print()


if __name__ == "__main__":
    main()
