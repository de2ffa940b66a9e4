"""Requests per second of the API beside the barest FastAPI service, in one run. Needs wrk.

    python bench/bench_http.py               three rounds of everything, about five minutes
    python bench/bench_http.py --seconds 2   to try it out

FastAPI, uvicorn and redis-py's asyncio client are installed into .venv/fastapi the first time. Uvicorn is measured as it
comes (asyncio, h11) and with its compiled extras (uvloop, httptools). Each part runs against a
fresh Redis with its append-only file on (everysec), 16 connections, both sides without access logs and rate limit.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import machine
import requests

from tests.harness import Server, eventually, free_port

RIVAL = ROOT / ".venv/fastapi"
PACKAGES = ("fastapi", "uvicorn[standard]", "redis[hiredis]")
BODY = '{"type": "noop", "payload": "' + "x" * 98 + '"}'
POST = f"wrk.method = 'POST'\nwrk.headers['Content-Type'] = 'application/json'\nwrk.body = [[{BODY}]]\n"
OURS, UNPINNED = "jobqueue", "jobqueue, API_ONE_CORE=0"
PLAIN, COMPILED = "FastAPI, uvicorn", "FastAPI, uvicorn[standard]"
SERVICES = (OURS, UNPINNED, PLAIN, COMPILED)


@dataclass
class Figure:
    rate: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float  # of service and Redis, for each request
    errors: int


def command(name: str, port: int, processes: int) -> list[str]:
    if name in (OURS, UNPINNED):
        return [sys.executable, str(ROOT / "api.py"), "--port", str(port), "--processes", str(processes)]
    where = ["--app-dir", str(ROOT / "bench"), "--port", str(port), "--workers", str(processes)]
    how = ["--loop", "asyncio", "--http", "h11"] if name == PLAIN else ["--loop", "uvloop", "--http", "httptools"]
    return [
        str(RIVAL / "bin/uvicorn"),
        "fastapi_minimum:app",
        *where,
        *how,
        "--no-access-log",
        "--log-level",
        "warning",
    ]


@contextmanager
def service(name: str, processes: int) -> Iterator[tuple[str, list[int]]]:
    """The address, and all process ids whose time counts."""
    server, port = Server(), free_port()
    settings = {
        "REDIS_URL": server.url,
        "LOG_JOBS": "failures",
        "RATE_LIMIT_MAX": "0",
        "API_ONE_CORE": str(int(name != UNPINNED)),
    }
    process = subprocess.Popen(command(name, port, processes), env=os.environ | settings, stderr=subprocess.DEVNULL)
    try:
        address = f"http://127.0.0.1:{port}"
        eventually(lambda: _answers(address), within_s=30)
        yield address, [server.process.pid, *machine.tree(process.pid)]
    finally:
        process.terminate()
        process.wait()
        server.close()


def _answers(address: str) -> bool:
    try:
        return requests.post(f"{address}/jobs", data=BODY, headers={"Content-Type": "application/json"}, timeout=2).ok
    except requests.ConnectionError:
        return False


def wrk(address: str, pids: list[int], seconds: int, script: str = "") -> Figure:
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script)
        file.flush()
        before = machine.cpu_s(pids)
        flags = ["-t1", "-c16", f"-d{seconds}s", "--latency", *(["-s", file.name] if script else [])]
        said = subprocess.run(["wrk", *flags, address], capture_output=True, text=True, check=True).stdout
    requests_made = int(re.search(r"(\d+) requests in", said)[1])
    cpu_s = machine.cpu_s(pids) - before
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", said)[1])
    return Figure(rate, _ms(said, "50%"), _ms(said, "99%"), 1000 * cpu_s / requests_made, int(bad[1]) if bad else 0)


def _ms(said: str, part: str) -> float:
    number, unit = re.search(rf"{part}\s+([\d.]+)(us|ms|s)", said).groups()
    return float(number) * {"us": 0.001, "ms": 1, "s": 1000}[unit]


def measure(name: str, processes: int, seconds: int) -> dict[str, Figure]:
    with service(name, processes) as (address, pids):
        headers = {"Content-Type": "application/json"}
        job_id = requests.post(f"{address}/jobs", data=BODY, headers=headers, timeout=5).json()["job_id"]
        return {
            "POST /jobs": wrk(f"{address}/jobs", pids, seconds, POST),
            "GET /jobs/<id>": wrk(f"{address}/jobs/{job_id}", pids, seconds),
        }


def median(figures: list[Figure]) -> Figure:
    columns = zip(*((f.rate, f.p50_ms, f.p99_ms, f.cpu_ms, f.errors) for f in figures), strict=True)
    return Figure(*(statistics.median(column) for column in columns))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=8, help="of each measurement (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="median of so many (default %(default)s)")
    options = parser.parse_args()
    if not shutil.which("wrk"):
        print("bench_http.py needs wrk (Debian: apt-get install wrk)", file=sys.stderr)
        return 1
    machine.virtualenv(RIVAL, PACKAGES)
    kinds = [(name, processes) for processes in (1, 2) for name in SERVICES]
    runs: dict[tuple[str, int, str], list[Figure]] = {}
    for _ in range(options.rounds):
        for name, processes in kinds:
            for call, figure in measure(name, processes, options.seconds).items():
                runs.setdefault((name, processes, call), []).append(figure)
    print(
        "| call | processes | service | requests/s | p50 ms | p99 ms | CPU ms a request | errors |\n|---|---|---|---|---|---|---|---|"
    )
    for call in ("POST /jobs", "GET /jobs/<id>"):
        for name, processes in kinds:
            f = median(runs[name, processes, call])
            print(
                f"| {call} | {processes} | {name} | {f.rate:,.0f} | {f.p50_ms:.1f} | {f.p99_ms:.1f} | {f.cpu_ms:.2f} | {f.errors:.0f} |"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
