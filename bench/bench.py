"""Measures this system alone on this machine, each part against a fresh Redis with its append-only file on (everysec).

    make bench                      everything, about three minutes
    python bench/bench.py --small   a tenth of the jobs, to try it out

Prints a table in Markdown. Nothing here is asserted: quote ratios of one run, not absolute numbers of two machines.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import platform
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

import bottle
import machine
import redis

from _jobqueue.pieces import result_fields
from _jobqueue.records import Settlement
from jobqueue import JobQueue, NewJob, __version__
from tests.harness import Server, System, eventually
from tests.played import Worker

PAYLOAD = "x" * 98  # 100 bytes as JSON
RUNS = 3
WORKER = "import worker; worker.MAX_BATCH = {batch}; raise SystemExit(worker.main())"


@contextmanager
def fresh() -> Iterator[System]:
    system = System(Server())
    try:
        yield system
    finally:
        system.close(show_logs=False)
        system.server.close()


def start_worker(system: System, batch: int, one_core: bool = False, **settings: str) -> subprocess.Popen[bytes]:
    """One process with 8 threads; ``batch`` is the most jobs that it may claim in one round trip."""
    environment = os.environ | {
        "REDIS_URL": system.server.url,
        "HANDLERS": "bench_handlers",
        "PYTHONPATH": f"{ROOT}:{ROOT / 'bench'}",
        "LOG_JOBS": "failures",
        "ONE_CORE": str(int(one_core)),
        **settings,
    }
    return subprocess.Popen(
        [sys.executable, "-c", WORKER.format(batch=batch)], env=environment, stderr=subprocess.DEVNULL
    )


def fill(system: System, jobs: int) -> JobQueue:
    queue = JobQueue(system.server.url)
    for _ in range(0, jobs, 1000):
        queue.submit_many([NewJob("noop", PAYLOAD)] * 1000)
    return queue


def drain(jobs: int, batch: int, one_core: bool = False) -> float:
    """Jobs per second from the first one done to the last."""
    with fresh() as system:
        queue = fill(system, jobs)
        process = start_worker(system, batch, one_core)
        done: Callable[[], int] = lambda: system.server.client.zcard("jq:{default}:done")  # noqa: E731
        first = eventually(done, equals=lambda n: n > 0, within_s=20)
        began = time.perf_counter()
        eventually(done, equals=jobs, within_s=300)
        rate = (jobs - first) / (time.perf_counter() - began)
        process.terminate()
        process.wait()
        assert queue.check("default") == []
        return rate


def submits(jobs: int, threads: int, batch: int) -> float:
    """Jobs per second accepted over HTTP by one API process, from ``threads`` clients that keep their connections."""
    with fresh() as system:
        api = system.api(LOG_JOBS="failures", RATE_LIMIT_MAX="0")
        body = {"type": "noop", "payload": PAYLOAD}
        path, sent = (
            ("/jobs", json.dumps(body)) if batch == 1 else ("/jobs/batch", json.dumps({"jobs": [body] * batch}))
        )

        def client(requests_to_make: int) -> None:
            link = http.client.HTTPConnection("127.0.0.1", int(system.api_url.rpartition(":")[2]))
            for _ in range(requests_to_make):
                link.request("POST", path, sent, {"Content-Type": "application/json"})
                answer = link.getresponse()
                answer.read()
                assert answer.status == 201, answer.status
            link.close()

        client(5)
        clients = [threading.Thread(target=client, args=(jobs // batch // threads,)) for _ in range(threads)]
        began = time.perf_counter()
        for thread in clients:
            thread.start()
        for thread in clients:
            thread.join()
        rate = jobs // batch // threads * threads * batch / (time.perf_counter() - began)
        api.stop()
        return rate


def latency(jobs: int) -> list[float]:
    """ms from just before the submit to the start of the handler, one job every 20 ms, the worker idle in between."""
    with fresh() as system:
        queue = JobQueue(system.server.url)
        process = start_worker(system, 64)
        eventually(lambda: bool(queue.look("default").workers), within_s=20)
        ids = []
        for _ in range(jobs):
            time.sleep(0.02)
            ids.append(queue.submit("stamp", time.time()).id)
        eventually(lambda: system.server.client.zcard("jq:{default}:done"), equals=jobs)
        process.terminate()
        process.wait()
        return sorted(float(queue.get(job_id).result) for job_id in ids[10:])


def memory(jobs: int) -> tuple[float, float]:
    """Bytes of Redis memory for each queued and each finished job."""
    with fresh() as system:
        queue = fill(system, 1000)
        finish(queue, 1000)
        before = machine.used_bytes(system.server)
        fill(system, jobs)
        queued = (machine.used_bytes(system.server) - before) / jobs
        finish(queue, jobs)
        return queued, (machine.used_bytes(system.server) - before) / jobs


def finish(queue: JobQueue, jobs: int) -> None:
    talk, ended = queue.conversation("default", f"{time.time_ns()}-1", 10_000), []
    for _ in range(jobs // 100 + 1):
        _, claimed = talk.exchange(ended, 100)
        ended = [Settlement(job.id, job.token, "done", fields=result_fields(1, 100)) for job in claimed]


def claim_cost(backlog: int) -> float:
    """Median µs that Redis spends in one exchange (finish one, claim one) in front of a backlog."""
    with fresh() as system:
        queue = fill(system, backlog)
        worker = Worker(queue, "bench").handles("noop")  # its beat says what it takes, as each worker's does
        talk, ended, costs = worker.talk, [], []
        calls, usec = evalsha(system)
        for seq in range(1, 901):
            _, claimed = talk.exchange(ended, 1)
            ended = [Settlement(job.id, job.token, "done", fields=result_fields(1, 100)) for job in claimed]
            if seq % 100 == 0:
                now_calls, now_usec = evalsha(system)
                costs.append((now_usec - usec) / (now_calls - calls))
                calls, usec = now_calls, now_usec
        return statistics.median(costs)


def evalsha(system: System) -> tuple[int, int]:
    stats = system.server.client.info("commandstats").get("cmdstat_evalsha", {"calls": 0, "usec": 0})
    return stats["calls"], stats["usec"]


def several(measure: Callable[[], float]) -> str:
    values = sorted(measure() for _ in range(RUNS))
    return f"{statistics.median(values):,.0f} ({values[0]:,.0f}–{values[-1]:,.0f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="a tenth of the jobs, one run")
    small = parser.parse_args().small
    scale = 10 if small else 1
    global RUNS
    RUNS = 1 if small else RUNS
    print(
        f"jobqueue {__version__}, Python {platform.python_version()}, Redis {machine.redis_version()} (AOF everysec), redis-py {redis.__version__}, "
        f"bottle {bottle.__version__}, waitress {version('waitress')}; "
        f"{machine.described()}; median (min–max) of {RUNS} runs\n"
    )
    print("| what | figure |\n|---|---|", flush=True)

    def row(what: str, figure: str) -> None:
        print(f"| {what} | {figure} |", flush=True)

    row("no-op jobs/s, one worker process, 8 threads, one job a round trip", several(lambda: drain(20_000 // scale, 1)))
    row("the same, ONE_CORE=1", several(lambda: drain(20_000 // scale, 1, one_core=True)))
    row("in batches chosen by the worker", several(lambda: drain(100_000 // scale, 64)))
    row("the same, ONE_CORE=1", several(lambda: drain(100_000 // scale, 64, one_core=True)))
    row("submits/s over HTTP, one by one, 1 client", several(lambda: submits(3_000 // scale, 1, 1)))
    row("submits/s over HTTP, one by one, 8 clients", several(lambda: submits(6_000 // scale, 8, 1)))
    row("submits/s over HTTP, batches of 100, 1 client", several(lambda: submits(30_000 // scale, 1, 100)))
    waits = latency(500 // scale)
    row(
        "idle latency, submit to handler start, p50 / p99",
        f"{statistics.median(waits):.2f} / {waits[int(len(waits) * 0.99)]:.2f} ms",
    )
    queued, finished = memory(20_000 // scale)
    row("Redis bytes per job with a 100-byte payload, queued / finished", f"{queued:.0f} / {finished:.0f}")
    few, many = claim_cost(1_000), claim_cost(1_000_000 // scale)
    row(
        f"Redis time of one finish-and-claim, backlog 1,000 / {1_000_000 // scale:,}",
        f"{few:.1f} / {many:.1f} µs ({many / few:.2f} ×)",
    )


if __name__ == "__main__":
    main()
