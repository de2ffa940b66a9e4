"""The whole system under a steady load, without faults, for long: ``python -m tests.faults.soak --seconds 2700``. What each program
and Redis hold is looked at all the time; once all is in its stride, nothing may grow. Exits 1 when something does."""

from __future__ import annotations

import argparse
import csv
import random
import signal
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import redis

from _jobqueue.records import ENDED, STATUSES
from tests.faults.mix.record import has_postgres
from tests.faults.mix.webhooks import Counted
from tests.faults.mix.whole import Whole
from tests.faults.stage import PREFIX, QUEUE, Actor
from tests.harness import Server

EVERY_S = 5.0
RATE = 20.0
WARM_S = 600.0  # what comes before does not count; at most a third of all
KEPT_S = 120  # jobs that have ended
GROWS = 1.10  # the last quarter's median, against the first one's
SLACK = {"RSS": 4096, "files": 4, "keys": 200, "used": 512, "dataset": 512}  # beside that; kB where it is memory
UNJUDGED = ("AOF", "rows", "jobs")  # the file grows until it is rewritten; the record keeps all

Lines = dict[str, list[tuple[float, float]]]


def look(whole: Whole, lines: Lines, at: float) -> None:
    """One look at everything."""
    for actor in whole.stage.actors:
        with suppress(OSError, StopIteration):
            rss, files = held_by(actor)
            lines[f"RSS {name_of(whole, actor)}, kB"].append((at, rss))
            lines[f"files {name_of(whole, actor)}"].append((at, files))
    client = whole.stage.server.client
    with suppress(redis.RedisError):
        memory, kept = client.info("memory"), client.info("persistence")
        lines["used memory of Redis, kB"].append((at, memory["used_memory"] / 1024))
        lines["dataset of Redis, kB"].append((at, memory["used_memory_dataset"] / 1024))
        lines["RSS Redis, kB"].append((at, memory["used_memory_rss"] / 1024))
        lines["AOF of Redis, kB"].append((at, kept["aof_current_size"] / 1024))
        lines["keys in Redis"].append((at, client.dbsize()))
        sizes = whole.stage.queue.books(QUEUE).sizes
        lines["jobs in Redis"].append((at, sum(sizes.values())))
        lines["jobs that wait or run"].append((at, sum(sizes[status] for status in STATUSES if status not in ENDED)))
        lines["keys: marks for the record"].append((at, client.zcard(f"{PREFIX}unsaved")))
    lines["rows of the record"].append((at, whole.record.rows("SELECT count(*) FROM job")[0][0]))


def held_by(actor: Actor) -> tuple[int, int]:
    """Resident kB and open files of a program."""
    folder = Path(f"/proc/{actor.program.pid}")
    line = next(line for line in (folder / "status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]), len(list((folder / "fd").iterdir()))


def name_of(whole: Whole, actor: Actor) -> str:
    same = [each for each in whole.stage.actors if (each.script, each.flags) == (actor.script, actor.flags)]
    name = Path(actor.script).stem + ("" if "--language" not in actor.flags else f" {actor.flags[-1]}")
    return f"{name} {same.index(actor) + 1}" if len(same) > 1 else name


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Of the line through the points by least squares, an hour."""
    if len(points) < 3:
        return 0.0
    return 3600 * statistics.linear_regression([at for at, _ in points], [value for _, value in points]).slope


def judged(lines: Lines, warm_s: float) -> tuple[list[str], list[str]]:
    """The table's rows, and what has grown."""
    rows, grown = [], []
    for name, points in lines.items():
        warm = [point for point in points if point[0] >= warm_s]
        quarter = max(1, len(warm) // 4)
        first, last = (statistics.median(value for _, value in some) for some in (warm[:quarter], warm[-quarter:]))
        rows.append(f"| {name} | {first:,.0f} | {last:,.0f} | {max(v for _, v in warm):,.0f} | {slope(warm):+,.0f} |")
        slack = next((more for word, more in SLACK.items() if name.startswith(word)), 0)
        if not name.startswith(UNJUDGED) and last > first * GROWS + slack:
            grown.append(f"{name} has grown from {first:,.0f} to {last:,.0f}")
    return rows, grown


def run(seconds: float, seed: int, rate: float, record: str, keep: str = "") -> tuple[list[str], list[str]]:
    """The table, and what is wrong. ``keep``: a file for all that was seen."""
    server = Server("--auto-aof-rewrite-min-size", "4mb", "--appendfsync", "everysec")
    kept = {"RESULT_TTL_S": str(KEPT_S), "FAILED_TTL_S": str(KEPT_S)}
    whole = Whole(seed, server, record, webhooks=Counted, REDIS_URL=server.url, **kept)  # no proxies
    lines: Lines = defaultdict(list)
    try:
        whole.stage.observer.stop()  # it remembers every job; the checker runs below
        whole.stage.producer.every_s = 4 / rate
        whole.stage.producer.keyed = False  # Redis remembers each key for a day
        whole.outbox.every_s = 5.0  # its rows have keys
        whole.start()
        began, wrong = time.monotonic(), list[str]()
        while (at := time.monotonic() - began) < seconds:
            look(whole, lines, at)
            if len(lines["keys in Redis"]) % 12 == 0:
                wrong += whole.stage.queue.check(QUEUE)
            whole.stage.wait(EVERY_S)
        left = whole.settle()
        wrong += whole.stage.queue.check(QUEUE) + [sentence for load in whole.loads for sentence in load.wrong]
        wrong += [f"{left} jobs have not ended"] if left else []
        wrong += of_the_record(whole)
        rows, grown = judged(lines, min(WARM_S, seconds / 3))
        return rows, wrong + grown
    finally:
        if keep:
            save(lines, keep)
        whole.close()


def of_the_record(whole: Whole) -> list[str]:
    """What Redis has long forgotten: every job that somebody was told of ended, and is a row."""
    whole.stage.wait(5)
    rows: dict[str, Any] = dict(whole.record.rows("SELECT id, status FROM job"))
    told = set(whole.stage.producer.acked.values()) | whole.flows.members.keys()
    lost = told - rows.keys()
    open_ = [job_id for job_id in told & rows.keys() - whole.stage.deleted if rows[job_id] not in ENDED]
    print(f"{len(told)} jobs were acknowledged, the record has {len(rows)} rows")
    return [f"{len(some)} jobs {what}" for some, what in ((lost, "have no row"), (open_, "are open there")) if some]


def save(lines: Lines, path: str) -> None:
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        for name, points in lines.items():
            writer.writerows((name, round(at, 1), value) for at, value in points)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2700, help="default %(default)s")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="default: by chance")
    parser.add_argument("--rate", type=float, default=RATE, help="plain jobs a second, default %(default)s")
    parser.add_argument("--record", choices=["sqlite", "postgresql"], default="sqlite", help="default %(default)s")
    parser.add_argument("--keep", default="", metavar="FILE", help="write all that was seen there, as CSV")
    options = parser.parse_args()
    if options.record == "postgresql" and not has_postgres():
        parser.error("PostgreSQL is not installed here")
    print(f"seed {options.seed}, {options.seconds:g} s, {options.rate:g} plain jobs a second", flush=True)
    rows, wrong = run(options.seconds, options.seed, options.rate, options.record, options.keep)
    print("| | first quarter, median | last quarter, median | most | slope an hour |\n|---|---|---|---|---|")
    print("\n".join([*rows, "", *wrong, "FAIL" if wrong else "PASS"]))
    return 1 if wrong else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))  # so that everything it started is ended
    sys.exit(main())
