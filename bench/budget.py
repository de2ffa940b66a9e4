"""Where the time of a job goes: each step adds something to the one before it, measured in turn, in one run.

    python bench/budget.py            about a minute

One thread that waits for each answer, Redis with its append-only file on (everysec). Wall time, and the CPU time of the caller's
thread and of Redis, in µs. The bare script is the limit: nothing that asks Redis once a job can be quicker through this client.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

import machine
import redis

from _jobqueue.pieces import result_fields
from _jobqueue.records import Settlement
from _jobqueue.store.chunks import Request, chunks_to_store
from _jobqueue.store.ids import new_id, queue_number_of
from _jobqueue.store.scripts import Script
from jobqueue import JobQueue, NewJob, __version__
from tests.harness import Server

PAYLOAD = "x" * 98  # 100 bytes as JSON
ID = 9  # where the id stands among the arguments of lua/submit.lua
BATCH = 64
ROUNDS = 7


class Cost(NamedTuple):
    """µs for each job."""

    wall: float
    caller: float
    redis: float


class Bench:
    def __init__(self) -> None:
        self.server = Server()
        self.queue = JobQueue(self.server.url)
        self.talk, self.ended = self.queue.conversation("default", "bench-1", 10_000), list[Settlement]()
        self.number = queue_number_of(self.queue.submit("noop", PAYLOAD).id)
        assert self.number is not None
        job = NewJob("noop", PAYLOAD)
        [self.chunk] = chunks_to_store(Request("default", [job], [job.fields()]), self.number, {"noop"})

    def bare(self, text: str, stores: bool = False) -> Callable[[], None]:
        """A script of ours or none, as JobQueue.submit asks for it. ``stores``: another job each time."""
        sha = self.server.client.script_load(text)
        before, after = self.chunk.args[:ID], self.chunk.args[ID + 1 :]
        assert self.chunk.args[ID] == self.chunk.ids[0]

        def ask() -> None:
            answer = self.queue.store.ask("EVALSHA", sha, 1, "jq:{default}:", *before, new_id(self.number), *after)
            assert not stores or len(answer.split()) == 2  # when, and its place: it is stored

        return ask

    def ping(self) -> None:
        self.talk.link.ask("", "PING")

    def submit(self) -> None:
        self.queue.submit("noop", PAYLOAD)

    def submit_many(self) -> None:
        self.queue.submit_many([NewJob("noop", PAYLOAD) for _ in range(1000)])

    def exchange(self, jobs: int) -> None:
        """What a slot does between two handlers: settle what it ran, claim the next."""
        _, claimed = self.talk.exchange(self.ended, jobs)
        assert len(claimed) == jobs
        self.ended = [Settlement(job.id, job.token, "done", fields=result_fields(1, 100)) for job in claimed]

    def cost(self, call: Callable[[], Any], calls: int, jobs_a_call: int) -> Cost:
        call()
        redis_s, thread_s, began = self._redis_s(), time.thread_time(), time.perf_counter()
        for _ in range(calls):
            call()
        wall_s, caller_s = time.perf_counter() - began, time.thread_time() - thread_s
        return Cost(*(s / calls / jobs_a_call * 1e6 for s in (wall_s, caller_s, self._redis_s() - redis_s)))

    def _redis_s(self) -> float:
        used = self.server.client.info("cpu")
        return float(used["used_cpu_user_main_thread"] + used["used_cpu_sys_main_thread"])


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    bench = Bench()
    steps: dict[str, tuple[Callable[[], Any], int, int]] = {
        "PING": (bench.ping, 1500, 1),
        "a script that does nothing": (bench.bare("return 1"), 1500, 1),
        "the parts that submit.lua needs": (bench.bare(Script("submit").parts + "return 1"), 1500, 1),
        "submit.lua": (bench.bare(Script("submit").text, stores=True), 1500, 1),
        "JobQueue.submit": (bench.submit, 1500, 1),
        "JobQueue.submit_many, a job": (bench.submit_many, 10, 1000),
        "Conversation.exchange, finish one and claim one": (lambda: bench.exchange(1), 1500, 1),
        f"the same in batches of {BATCH}, a job": (lambda: bench.exchange(BATCH), 50, BATCH),
    }
    costs: dict[str, list[Cost]] = {name: [] for name in steps}
    for _ in range(ROUNDS):
        bench.ended = []
        bench.queue.submit_many([NewJob("noop", PAYLOAD)] * 6000)
        for name, step in steps.items():
            costs[name].append(bench.cost(*step))
    print(
        f"jobqueue {__version__}, Redis {machine.redis_version()}, redis-py {redis.__version__}; {machine.described()}\n"
    )
    print("| µs | wall | caller's CPU | Redis's CPU |\n|---|---|---|---|")
    for name, rounds in costs.items():
        middle = Cost(*(statistics.median(each) for each in zip(*rounds, strict=True)))
        print(f"| {name} | {middle.wall:.0f} | {middle.caller:.0f} | {middle.redis:.0f} |")
    bench.server.close()


if __name__ == "__main__":
    main()
