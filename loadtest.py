"""Submits jobs over HTTP and watches them: ``python loadtest.py --count 1000 --poll``.

Progress is a bar on a terminal and a line a second elsewhere. Exits 1 when a job was refused or did not end well.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import requests

from _jobqueue.records import ENDED

BAR_CHARS = 40
LOOKS_A_ROUND = 200  # jobs asked for in one round of polling, oldest first
WAITS = {
    429: "the rate limit of the API (RATE_LIMIT_MAX)",
    503: "the API to reach Redis",
}  # what a status says to wait for
PATIENCE = 30  # tries of one submit, while the server says to wait; seconds that it may be away while its jobs run


class Waiting:
    """How long submits waited because the server told them to, by its status. Clients wait at the same time: what counts is
    the time on the clock. Thread-safe."""

    def __init__(self) -> None:
        self.s: dict[int, float] = {}
        self._until: dict[int, float] = {}
        self._lock = threading.Lock()

    def note(self, status: int, wait_s: float) -> None:
        with self._lock:
            if status not in self.s:
                after_bar = "\n" if sys.stdout.isatty() else ""
                print(f"{after_bar}waiting for {WAITS[status]}", flush=True)
            until = time.monotonic() + wait_s
            more_s = min(wait_s, until - self._until.get(status, 0.0))  # than those that wait already
            self.s[status] = self.s.get(status, 0.0) + max(0.0, more_s)
            self._until[status] = max(until, self._until.get(status, 0.0))


class Load:
    """One run: what was accepted, what was refused and why, what has ended and how."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.local = threading.local()
        self.pause = threading.Event()  # never set: its wait is a pause that a test can shorten
        self.waiting = Waiting()
        self.accepted: list[str] = []
        self.refused: Counter[str] = Counter()
        self.ended: dict[str, dict[str, Any]] = {}

    def session(self) -> requests.Session:
        """This thread's own, which keeps its connection."""
        if not hasattr(self.local, "session"):
            self.local.session = requests.Session()
            if self.options.key:
                self.local.session.headers["Authorization"] = f"Bearer {self.options.key}"
        session: requests.Session = self.local.session
        return session

    def submit(self, number: int) -> None:
        """Submit one job; again, under the same idempotency key, while the server says to wait."""
        body = {"type": self.options.type, "queue": self.options.queue, "payload": {"number": number}}
        headers = {"Idempotency-Key": f"loadtest-{self.options.run}-{number}"}
        for _ in range(PATIENCE):
            try:
                answer = self.session().post(f"{self.options.url}/jobs", json=body, headers=headers, timeout=30)
            except requests.RequestException as error:
                self.refused[self._unreachable(error)] += 1
                return
            if answer.status_code not in WAITS:
                break
            wait_s = float(answer.headers.get("Retry-After", "1"))
            self.waiting.note(answer.status_code, wait_s)
            self.pause.wait(wait_s)
        if answer.status_code in (200, 201):
            self.accepted.append(answer.json()["job_id"])
        else:
            self.refused[f"{answer.status_code}: {self._reason(answer)}"] += 1

    def look(self, job_id: str) -> None:
        answer = self.session().get(f"{self.options.url}/jobs/{job_id}", timeout=30)
        if answer.status_code == 200 and answer.json()["status"] in ENDED:
            self.ended[job_id] = answer.json()
        elif answer.status_code == 404:  # deleted, or kept for less time than the test took
            self.accepted.remove(job_id)
            self.refused[f"404: {self._reason(answer)}"] += 1

    def _reason(self, answer: requests.Response) -> str:
        is_problem = answer.headers.get("Content-Type", "").startswith("application/problem+json")
        return str(answer.json()["detail"] if is_problem else answer.reason)

    def _unreachable(self, error: requests.RequestException) -> str:
        return f"cannot reach {self.options.url}: {type(error).__name__}"

    def submit_all(self, pool: ThreadPoolExecutor) -> float:
        """Seconds that it took."""
        began = time.monotonic()
        progress = Progress("submitted", self.options.count)
        for _ in pool.map(self.submit, range(self.options.count)):
            progress.show(len(self.accepted))
        progress.end(len(self.accepted))
        return time.monotonic() - began

    def watch(self, pool: ThreadPoolExecutor) -> None:
        """Until every accepted job has ended, or the API has been away for too long."""
        progress, away = Progress("ended", len(self.accepted)), 0
        while waiting := [job_id for job_id in self.accepted if job_id not in self.ended]:
            before = len(self.ended)
            try:
                list(pool.map(self.look, waiting[:LOOKS_A_ROUND]))
                away = 0
            except requests.RequestException as error:
                away += 1
                if away == PATIENCE:
                    self.refused[self._unreachable(error)] += 1
                    break
                self.pause.wait(1.0)
            progress.show(len(self.ended))
            if len(self.ended) == before:
                self.pause.wait(0.2)
        progress.end(len(self.ended))


class Progress:
    """A bar that redraws itself on a terminal, else a line a second."""

    def __init__(self, what: str, of: int) -> None:
        self.what, self.of, self.terminal = what, of, sys.stdout.isatty()
        self.said = time.monotonic()

    def show(self, n: int) -> None:
        if time.monotonic() - self.said >= (0.1 if self.terminal else 1.0):
            self._say(n, "")

    def end(self, n: int) -> None:
        self._say(n, "\n")

    def _say(self, n: int, end: str) -> None:
        self.said = time.monotonic()
        if self.terminal:
            full = BAR_CHARS * n // max(1, self.of)
            print(f"\r{self.what:9} [{'#' * full}{'.' * (BAR_CHARS - full)}] {n}/{self.of}", end=end, flush=True)
        else:
            print(f"{self.what} {n}/{self.of}", flush=True)


def seconds_between(job: dict[str, Any], start: str, end: str) -> float | None:
    if not job[start] or not job[end]:
        return None
    return (datetime.fromisoformat(job[end][:-1]) - datetime.fromisoformat(job[start][:-1])).total_seconds()


def spread(name: str, values: list[float]) -> str:
    values = sorted(values)
    at = [values[min(len(values) - 1, int(len(values) * part))] for part in (0.5, 0.95, 0.99)]
    return f"{name:22} p50 {at[0]:.3f} s   p95 {at[1]:.3f} s   p99 {at[2]:.3f} s   max {values[-1]:.3f} s"


def report(load: Load, submit_s: float) -> None:
    print(f"submitted {len(load.accepted)} jobs in {submit_s:.1f} s: {len(load.accepted) / submit_s:.0f} a second")
    for status, wait_s in load.waiting.s.items():
        print(f"for {wait_s:.1f} s of that it waited for {WAITS[status]}")
    for reason, n in load.refused.most_common(5):
        print(f"refused {n}: {reason}")
    if not load.ended:
        return
    jobs = list(load.ended.values())
    outcomes = Counter(job["status"] for job in jobs)
    print("ended " + ", ".join(f"{n} {status}" for status, n in outcomes.most_common()))
    total = seconds_between(
        {"start": min(job["created_at"] for job in jobs), "end": max(job["finished_at"] for job in jobs)},
        "start",
        "end",
    )
    print(f"all of it took {total:.1f} s: {len(jobs) / max(total or 0, 0.001):.0f} jobs a second")
    for name, start, end in (
        ("waited to start", "created_at", "started_at"),
        ("submit to end", "created_at", "finished_at"),
    ):
        if values := [value for job in jobs if (value := seconds_between(job, start, end)) is not None]:
            print(spread(name, values))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--url",
        default=f"http://127.0.0.1:{os.environ.get('API_PORT') or 8000}",
        help="where the API is (default %(default)s; API_PORT)",
    )
    parser.add_argument("--count", type=int, default=1000, help="how many jobs (default %(default)s)")
    parser.add_argument(
        "--clients", type=int, default=8, help="submitted from so many connections (default %(default)s)"
    )
    parser.add_argument("--type", default="noop", help="job type (default %(default)s)")
    parser.add_argument("--queue", default="default", help="queue (default %(default)s)")
    parser.add_argument("--key", default=os.environ.get("API_KEY"), help="API key, where one is needed (API_KEY)")
    parser.add_argument("--poll", action="store_true", help="watch until all have ended, then print latencies")
    options = parser.parse_args()
    if not 1 <= options.count <= 1_000_000 or not 1 <= options.clients <= 256:
        parser.error("--count goes from 1 to 1,000,000, --clients from 1 to 256")
    options.run = f"{time.time_ns():x}"
    return options


def main() -> int:
    options = parse()
    load = Load(options)
    with ThreadPoolExecutor(options.clients) as pool:
        submit_s = load.submit_all(pool)
        if options.poll:
            load.watch(pool)
    report(load, submit_s)
    good = not load.refused and all(job["status"] == "done" for job in load.ended.values())
    return 0 if good else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
