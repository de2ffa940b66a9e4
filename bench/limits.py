"""What limits and fair keys cost Redis: the same work with and without them, in turn, in one run.

    python bench/limits.py            about three minutes, with backlogs of 100,000 jobs
    python bench/limits.py 10000      with smaller ones

One thread that waits for each answer, Redis with its append-only file on (everysec). CPU time of Redis in µs, and how many
commands that is.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

import machine

from _jobqueue.limits import Limit
from _jobqueue.pieces import result_fields
from _jobqueue.records import Settlement
from jobqueue import JobQueue, NewJob, __version__
from tests.harness import Server
from tests.played import Worker, tick

PAYLOAD = "x" * 98  # 100 bytes as JSON
TENANTS = 10_000
CALLS, ROUNDS = 40, 60
ONE, ROOMY = Limit(max_running=1), Limit(max_running=100)
RATE = Limit(starts=10_000, per_s=1)


class Cost(NamedTuple):
    """Of one call: µs of Redis's CPU, commands that it ran."""

    us: float
    commands: float


class Case:
    """A Redis of its own, one worker that knows one type, and a slot that ends a job and claims the next."""

    def __init__(self) -> None:
        self.server = Server()
        self.queue = JobQueue(self.server.url)
        self.queue.register("default")
        self.worker = Worker(self.queue, lease_ms=3_600_000)
        self.worker.handles("noop")
        self.ended: list[Settlement] = []
        self.costs: list[Cost] = []

    def submit(self, n: int, limits: Callable[[int], list[str]] = lambda n: [], **options: object) -> None:
        jobs = (NewJob("noop", PAYLOAD, limits=limits(number), timeout_s=3600, **options) for number in range(n))
        while some := [job for _, job in zip(range(1000), jobs, strict=False)]:
            self.queue.submit_many(some)

    def exchange(self) -> int:
        """What a slot does between two handlers. Returns how many jobs it got."""
        claimed = self.worker.exchange(*self.ended)[1]
        self.ended = [Settlement(job.id, job.token, "done", fields=result_fields(1, 100)) for job in claimed]
        return len(claimed)

    def drains(self) -> None:
        assert self.exchange() == 1

    def measure(self, call: Callable[[], object], calls: int = CALLS) -> None:
        """Adds to the costs those of so many calls."""
        cpu_s, commands = self._cpu_s(), self._commands()
        for _ in range(calls):
            call()
        self.costs.append(Cost((self._cpu_s() - cpu_s) / calls * 1e6, (self._commands() - commands) / calls))

    def _commands(self) -> int:
        return sum(int(each["calls"]) for each in self.server.client.info("commandstats").values())

    def _cpu_s(self) -> float:
        used = self.server.client.info("cpu")
        return float(used["used_cpu_user_main_thread"] + used["used_cpu_sys_main_thread"])

    def cost(self) -> Cost:
        """Of the quickest part: whatever else the machine does makes the others slower."""
        return Cost(*(min(each) for each in zip(*self.costs, strict=True)))


def put(case: Case, name: str, limit: Limit) -> None:
    case.queue.limits.put("default", name, limit)


# ------------------------------------------------------------------------------------------------ one job after the other


def drain(name: str, limit: Limit, limits: Callable[[int], list[str]], jobs: int) -> Case:
    """Nobody waits for a limit."""
    case = Case()
    if name:
        put(case, name, limit)
    case.submit(jobs, limits)
    return case


def tenant(number: int) -> list[str]:
    return [f"tenant:{number % TENANTS}"]


def held(case: Case, name: str, jobs: int, limits: Callable[[int], list[str]], running: int) -> str:
    """`jobs` that wait at a limit of one each, in front of free ones. Returns what it took to come to the first of these."""
    put(case, name, ONE)
    case.submit(running, limits, priority=9)
    for number in range(running):  # each held by a slot of its own
        other = Worker(case.queue, f"o{number}", lease_ms=3_600_000)
        other.talk.kit = case.worker.talk.kit
        assert len(other.exchange()[1]) == 1
        other.talk.close()
    case.submit(jobs, limits, priority=9)
    case.submit(CALLS * (ROUNDS + 1))
    calls, slowest, began, before = 0, 0.0, time.perf_counter(), case._cpu_s()
    while True:
        one, calls = time.perf_counter(), calls + 1
        got = case.exchange()
        slowest = max(slowest, time.perf_counter() - one)
        if got:
            break
    took = time.perf_counter() - began
    us = (case._cpu_s() - before) / jobs * 1e6
    return f"{took:.1f} s, {calls} claims, the slowest {slowest * 1000:.1f} ms, {us:.1f} µs of Redis a held job"


def alternately(cases: dict[str, Case]) -> None:
    for case in cases.values():
        for _ in range(20):
            case.drains()
    for _ in range(ROUNDS):
        for case in cases.values():
            case.measure(case.drains)


def told(cases: dict[str, Case], plain: Case) -> None:
    for name, case in cases.items():
        us, commands = case.cost()
        print(f"| {name} | {us:.0f} | {commands:.0f} | {us / plain.cost().us:.2f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("jobs", type=int, nargs="?", default=100_000)
    parser.add_argument("--only", default="", help="drain, held or turns")
    options = parser.parse_args()
    print(f"jobqueue {__version__}, Redis {machine.redis_version()}; {machine.described()}\n")
    print("| one exchange: end a job, claim the next | µs of Redis | commands | times the first |\n|---|---|---|---|")
    n = CALLS * (ROUNDS + 1)
    plain = drain("", ONE, lambda number: [], 2 * n)
    open_: list[Case] = [plain]
    if options.only in ("", "drain"):
        cases = {
            "no limits": plain,
            "a limit that no job names": drain("other", ROOMY, lambda number: [], n),
            "each job names one with room": drain("api", ROOMY, lambda number: ["api"], n),
            "each names one that has no definition": drain("other", ROOMY, lambda number: ["api"], n),
            "their type has one with room": drain("type:noop", ROOMY, lambda number: [], n),
            "a rate with room": drain("api", RATE, lambda number: ["api"], n),
            "10,000 names of a pattern, one each, nobody waits": drain("tenant:*", ONE, tenant, n),
        }
        open_ += cases.values()
        alternately(cases)
        told(cases, plain)
    if options.only in ("", "held"):
        for name, pattern, limits, running in (
            ("one limit", "api", lambda number: ["api"], 1),
            ("10,000 names of a pattern", "tenant:*", tenant, min(TENANTS, options.jobs // 10)),
        ):
            case = Case()
            open_.append(case)
            first = held(case, pattern, options.jobs, limits, running)
            plain.costs.clear()
            alternately({"plain": plain, "free": case})
            told({f"{options.jobs:,} held at {name}: a free job (the first after {first})": case}, plain)
            case.ended = []
            put(case, pattern, Limit(max_running=2))  # lets one of each in
            tick(case.queue)
            plain.costs.clear(), case.costs.clear()
            plain.submit(n)
            alternately({"plain": plain, "freed": case}) if running > 1 else None
            if running > 1:
                told({"the jobs held there, let in one by one": case}, plain)
    for case in open_:
        case.server.close()


if __name__ == "__main__":
    main()
