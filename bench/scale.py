"""How throughput grows with worker processes, threads and queues, on one Redis and on a Cluster of three masters.

    python bench/scale.py                  everything, about ten minutes: a table, and docs/images/scale.svg
    python bench/scale.py --jobs 5000      to try it out

Jobs that do nothing, in batches as the worker chooses them, results stored, append-only file on (everysec).
"""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

from jobqueue import JobQueue, NewJob
from tests.harness import Cluster, Server, eventually

PROCESSES, THREADS, QUEUES = (1, 2, 4), (1, 8, 64), (1, 4, 16)
TOPOLOGIES: dict[str, Callable[[], Server | Cluster]] = {"one Redis": Server, "Cluster, 3 masters": Cluster}
PICTURE = ROOT / "docs/images/scale.svg"


class Point(NamedTuple):
    topology: str
    processes: int
    threads: int
    queues: int
    rate: float  # jobs a second


def measure(topology: str, processes: int, threads: int, queues: int, jobs: int) -> Point:
    servers = TOPOLOGIES[topology]()
    try:
        queue, names = JobQueue(servers.url), [f"q{n}" for n in range(queues)]
        for name in names:
            for start in range(0, jobs // queues, 1000):
                n = min(1000, jobs // queues - start)
                queue.submit_many([NewJob("noop", "x" * 98, queue=name)] * n)
        total = jobs // queues * queues

        def done() -> int:
            return sum(queue.books(name).sizes["done"] for name in names)

        worker = start_worker(servers.url, names, processes, threads)
        try:
            first = eventually(done, equals=lambda n: n > 0, within_s=60)
            began = time.perf_counter()
            eventually(done, equals=total, within_s=600)
            return Point(topology, processes, threads, queues, (total - first) / (time.perf_counter() - began))
        finally:
            worker.terminate()
            worker.wait()
    finally:
        servers.close()


def start_worker(url: str, names: Sequence[str], processes: int, threads: int) -> subprocess.Popen[bytes]:
    settings = {"REDIS_URL": url, "HANDLERS": "bench_handlers", "LOG_JOBS": "failures"}
    shares = {"WORKER_THREADS": str(threads), "WORKER_PROCESSES": str(processes), "QUEUES": ",".join(names)}
    paths = {"PYTHONPATH": f"{ROOT}:{ROOT / 'bench'}"}
    command = [sys.executable, str(ROOT / "worker.py")]
    return subprocess.Popen(command, env=os.environ | settings | shares | paths, stderr=subprocess.DEVNULL)


# ------------------------------------------------------------------------------------------------------- the picture

PANEL_W, PANEL_H, MARGIN, GAP = 190, 130, 56, 34
COLOURS = dict(zip(THREADS, ("#9a6700", "#0969da", "#8250df"), strict=True))
STYLE = """text { font: 12px system-ui, sans-serif; fill: #444 } .title { font-weight: 600; fill: #222 }
.axis { stroke: #bbb } .grid { stroke: #e4e4e4 } path { fill: none; stroke-width: 2 }
@media (prefers-color-scheme: dark) { text { fill: #bbb } .title { fill: #eee } .axis { stroke: #666 } .grid { stroke: #333 } }"""


def draw(points: Sequence[Point]) -> str:
    """Small charts side by side: a row for each topology, a column for each number of queues, a line for each of threads."""
    top = max(point.rate for point in points) * 1.1
    rows = [
        panel([p for p in points if (p.topology, p.queues) == (topology, queues)], column, row, top)
        for (row, topology), (column, queues) in itertools.product(enumerate(TOPOLOGIES), enumerate(QUEUES))
    ]
    width = MARGIN + len(QUEUES) * (PANEL_W + GAP) + 40
    height = MARGIN + len(TOPOLOGIES) * (PANEL_H + 2 * GAP) + 10
    legend = "".join(
        f'<circle cx="{MARGIN + 110 * at}" cy="16" r="4" fill="{COLOURS[threads]}"/>'
        f'<text x="{MARGIN + 10 + 110 * at}" y="20">{threads} thread{"s" * (threads > 1)}</text>'
        for at, threads in enumerate(THREADS)
    )
    note = f'<text x="{MARGIN + 340}" y="20">a process; across: worker processes; up: jobs/s</text>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="jobs a second by worker processes, threads and queues"><style>{STYLE}</style>'
        f"{legend}{note}{''.join(rows)}</svg>\n"
    )


def panel(points: Sequence[Point], column: int, row: int, top: float) -> str:
    left, base = MARGIN + column * (PANEL_W + GAP), MARGIN + GAP // 2 + PANEL_H + row * (PANEL_H + 2 * GAP)

    def x(processes: int) -> float:
        return left + 20 + PROCESSES.index(processes) * (PANEL_W - 40) / (len(PROCESSES) - 1)

    def y(rate: float) -> float:
        return base - rate / top * PANEL_H

    topology, queues = points[0].topology, points[0].queues
    parts = [
        f'<text class="title" x="{left}" y="{base - PANEL_H - 8}">{topology}, {queues} queue{"s" * (queues > 1)}</text>'
    ]
    step = 10_000 if top < 60_000 else 20_000
    for rate in range(0, int(top), step):
        parts.append(f'<path class="{"grid" if rate else "axis"}" d="M{left} {y(rate):.0f}h{PANEL_W}"/>')
        if column == 0:
            parts.append(f'<text x="{left - 8}" y="{y(rate) + 4:.0f}" text-anchor="end">{rate // 1000}k</text>')
    parts += [f'<text x="{x(n):.0f}" y="{base + 18}" text-anchor="middle">{n}</text>' for n in PROCESSES]
    for threads in THREADS:
        line = sorted((p.processes, p.rate) for p in points if p.threads == threads)
        path = "L".join(f"{x(n):.1f} {y(rate):.1f}" for n, rate in line)
        parts.append(f'<path d="M{path}" stroke="{COLOURS[threads]}"/>')
        parts += [f'<circle cx="{x(n):.1f}" cy="{y(rate):.1f}" r="3.5" fill="{COLOURS[threads]}"/>' for n, rate in line]
    return "".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=40_000, help="for each point (default %(default)s)")
    options = parser.parse_args()
    columns = list(itertools.product(PROCESSES, THREADS))
    print("| jobs/s | " + " | ".join(f"{p} × {t}" for p, t in columns) + " |\n|---" + "|---" * len(columns) + "|")
    points: list[Point] = []
    for topology, queues in itertools.product(TOPOLOGIES, QUEUES):
        found = [measure(topology, p, t, queues, options.jobs) for p, t in columns]
        points += found
        cells = " | ".join(f"{point.rate:,.0f}" for point in found)
        print(f"| {topology}, {queues} queue{'s' * (queues > 1)} | {cells} |", flush=True)
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(draw(points))
    print(f"\n(worker processes × threads of each; the picture is {PICTURE.relative_to(ROOT)})")


if __name__ == "__main__":
    main()
