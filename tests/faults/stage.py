"""The whole system on a stage: an API, two workers and two reapers, each behind a proxy of its own. A producer keeps submitting
whatever happens, an observer looks on, and when all is quiet again there is a verdict.

What is compared: what clients were told (``Producer.acked``), what handlers really did (the ledger), and what Redis says.
"""

from __future__ import annotations

import itertools
import random
import shutil
import signal
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis
import requests

from _jobqueue.records import ENDED, STATUSES
from jobqueue import JobQueue, JobQueueError
from tests.faults.ledger import Ledger, Run, overlap_s
from tests.faults.proxy import Proxy
from tests.harness import ROOT, Program, Server, System, eventually, free_port

QUEUE = "default"
PREFIX = f"jq:{{{QUEUE}}}:"
LEASE_S = 2.0
THREADS = 4
MAX_ATTEMPTS = 4  # of the type "noted"
RATE = 50.0  # jobs submitted a second
JUMP_S = 60.0  # within which leases are extended, and due times fired, once the clock has jumped
QUIET_S = 90.0  # within which all must have ended once the faults are over


@dataclass
class Verdict:
    """What a row of the fault table says. The first six of its numbers must be 0."""

    lost: int = 0  # acknowledged, and nowhere
    phantom: int = 0  # there, and never asked for
    dup_success: int = 0
    over_max: int = 0  # jobs that were started more often than they may be
    violations: list[str] = field(default_factory=list)
    left: int = 0  # not ended when all was quiet
    acked: int = 0
    done: int = 0
    failed: int = 0
    runs: int = 0
    unrun: int = 0  # attempts spent without a start of the handler
    refused: int = 0  # late results
    overlap_s: float = 0.0
    recovery_s: list[float] = field(default_factory=list)  # from the death of a process to the next start of its jobs
    longest_gap_s: float = 0.0  # between two acknowledgements
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def good(self) -> bool:
        return self.wrong == "0"

    @property
    def wrong(self) -> str:
        """What must be 0 and is not; else 0."""
        numbers = {
            "lost": self.lost,
            "phantom": self.phantom,
            "double success": self.dup_success,
            "over max": self.over_max,
            "violations": len(self.violations),
            "unfinished": self.left,
        }
        return ", ".join(f"{name} {n}" for name, n in numbers.items() if n) or "0"

    @property
    def also(self) -> str:
        """What else is worth telling."""
        said = []
        if self.recovery_s:
            ordered = sorted(self.recovery_s)
            worst = ordered[int(0.99 * len(ordered))]
            said.append(
                f"{len(ordered)} jobs ran again after {statistics.median(ordered):.1f} s (p50), {worst:.1f} s (p99)"
            )
        if self.refused:
            said.append(f"{self.refused} late results refused")
        if self.unrun:
            said.append(f"{self.unrun} attempts spent without a run")
        if self.overlap_s >= 0.05:
            said.append(f"two runs of a job overlapped for {self.overlap_s:.1f} s")
        if self.longest_gap_s >= 0.5:
            said.append(f"{self.longest_gap_s:.1f} s without an answer")
        return "; ".join(said + [f"{name}: {value}" for name, value in self.notes.items()])

    def __str__(self) -> str:
        counts = f"{self.acked} acknowledged, {self.done} done, {self.failed} failed, {self.runs} runs"
        return f"{counts}; wrong: {self.wrong}; {self.also}"


class Actor:
    """One program of the stage, which may be killed, frozen, cut off and started again."""

    def __init__(self, stage: Stage, script: str, *flags: str, **environment: str) -> None:
        self.stage, self.script, self.flags, self.environment = stage, script, flags, environment
        self.proxy = Proxy(stage.server.port, remember=stage.remember)
        self.start()

    def start(self) -> None:
        ours = {"REDIS_URL": self.proxy.url, "PROCESSING_TIMEOUT_S": str(LEASE_S)}
        settings = ours | self.stage.environment | self.environment
        own = (self.stage.programs or ROOT) / self.script
        script = str(own if own.exists() else ROOT / self.script)
        self.program: Program = self.stage.system.start(script, *self.flags, **settings)
        self.program.says(
            "listening" if self.script == "api.py" else "ready" if self.script == "worker.py" else "starting"
        )

    def kill(self) -> None:
        self.stage.deaths[self.program.pid] = time.monotonic()
        self.program.kill()

    def restart(self) -> None:
        """kill -9, and at once a new one."""
        self.kill()
        self.start()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        self.program.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.program.signal(signal.SIGCONT)


class Producer:
    """Threads that submit at a steady rate over HTTP, each job under a key of its own, and repeat what got no answer."""

    def __init__(self, url: Callable[[], str], rng: random.Random, rate: float = RATE, clients: int = 4) -> None:
        self.url, self.rng, self.every_s = url, rng, clients / rate
        self.acked: dict[int, str] = {}  # number -> job id, as a 2xx said
        self.acked_at: dict[str, float] = {}  # job id -> when
        self.open: dict[int, dict[str, Any]] = {}  # asked for, without an answer yet
        self.statuses: dict[int, int] = {}  # of the answers that were no 2xx
        self.asked, self.keyed = 0, True
        self.work: Callable[[int], dict[str, Any]] = self.usual
        self._stop, self._lock = threading.Event(), threading.Lock()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(clients)]

    def usual(self, n: int) -> dict[str, Any]:
        """Mostly short; one in twenty takes longer, one in twenty fails at first, one in a hundred for good."""
        chance = self.rng.random()
        seconds = 0.5 + self.rng.random() if chance < 0.05 else 0.02 + 0.06 * self.rng.random()
        fails = "always" if chance > 0.99 else 1 if chance > 0.94 else 0
        return {"type": "noted", "payload": {"n": n, "s": round(seconds, 3), "fails": fails}}

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """No new jobs. What got no answer is asked for again, until it has one."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        session = requests.Session()
        deadline = time.monotonic() + QUIET_S
        for n, body in sorted(self.open.items()):
            while not self._submit(session, n, body) and time.monotonic() < deadline:
                pass

    def _run(self) -> None:
        session = requests.Session()
        next_at = time.monotonic()
        while not self._stop.wait(max(0.0, next_at - time.monotonic())):
            next_at = max(next_at + self.every_s, time.monotonic() - 1.0)  # what was missed is not made up for
            with self._lock:
                self.asked += 1
                n, body = self.asked, self.work(self.asked)
                self.open[n] = body
            while not self._submit(session, n, body) and not self._stop.wait(0.1):
                pass

    def _submit(self, session: requests.Session, n: int, body: dict[str, Any]) -> bool:
        try:
            headers = {"Idempotency-Key": f"n{n}"} if self.keyed else {}
            answer = session.post(f"{self.url()}/jobs", json=body, headers=headers, timeout=5)
        except requests.RequestException:
            return False
        with self._lock:
            if answer.ok:
                self.acked[n] = answer.json()["job_id"]
                self.acked_at[self.acked[n]] = time.monotonic()
                del self.open[n]
            else:
                self.statuses[answer.status_code] = self.statuses.get(answer.status_code, 0) + 1
        return bool(answer.ok)


class Observer:
    """Looks at the live system twice a second: every invariant holds at any instant, and what has ended stays as it is."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.violations: list[str] = []
        self.looks = 0
        self.ended: dict[str, str] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        lasted = 0.0
        while not self._stop.wait(max(0.5, lasted)):  # of many jobs a look takes long, and the load goes on beside it
            began = time.monotonic()
            self.look()
            lasted = time.monotonic() - began

    def look(self) -> None:
        try:
            began = time.monotonic()
            wrong = self.stage.queue.check(QUEUE)
            if began - self.stage.jumped_at < JUMP_S:  # what is late by the clock alone is not late yet
                wrong = [sentence for sentence in wrong if "over a minute ago" not in sentence]
            self.violations += wrong
            for status in ("done", "failed", "cancelled"):
                for job_id in self.stage.server.client.zrange(PREFIX + status, 0, -1):
                    before = self.ended.setdefault(job_id, status)
                    if before != status and job_id not in self.stage.operated:
                        self.violations.append(f"job {job_id} was {before} and became {status}")
            self.looks += 1
        except (JobQueueError, redis.RedisError):
            pass  # Redis is away: that is the fault, not a violation


class Stage:
    """Set up, let the faults happen, settle, judge."""

    def __init__(
        self,
        seed: int,
        *,
        server: Server | None = None,
        reapers: int = 2,
        programs: Callable[[], Path] | None = None,
        environment: dict[str, str] | None = None,
        remember: bool = True,
    ) -> None:
        """``programs`` makes a folder with other ones than ours; it is removed at the end. ``environment`` is of all programs.
        ``remember``: the proxies keep all messages."""
        self.rng = random.Random(seed)
        self.environment, self.remember = environment or {}, remember
        self.server = server or Server()
        self.programs = programs() if programs else None
        self.system, self.ledger = System(self.server), Ledger()
        self.queue = JobQueue(self.server.url)
        self.deaths: dict[int, float] = {}
        self.operated, self.deleted = set[str](), set[str]()  # jobs that somebody put a hand on
        self.undone = 0  # successes that they may have undone
        self.told: dict[str, Any] = {}  # id -> anything: jobs that others than the producer were told of
        self.made = set[str]()  # jobs that the system has made itself
        self.jumped_at = float("-inf")  # when the clock of the scripts last did
        self.snoozed = set[str]()  # jobs that are put off once: a run more
        self.port = free_port()
        self.actors: list[Actor] = []
        self.api = self.add("api.py", "--port", str(self.port), RATE_LIMIT_MAX="0", LOG_JOBS="failures")
        self.workers = [self.add_worker() for _ in range(2)]
        self.reapers = [self.add("reaper.py", "--interval", "0.2") for _ in range(reapers)]
        self.producer = Producer(lambda: f"http://127.0.0.1:{self.port}", self.rng)
        self.observer = Observer(self)

    def add(self, script: str, *flags: str, **environment: str) -> Actor:
        self.actors.append(Actor(self, script, *flags, **environment))
        return self.actors[-1]

    def add_worker(self, **environment: str) -> Actor:
        flags = ("--threads", str(THREADS), "--handlers", "tests.faults.ledger", "--drain", "10")
        return self.add("worker.py", *flags, **self.ledger.environment, **environment)

    def wait(self, seconds: float) -> None:
        """Let the load go on."""
        threading.Event().wait(seconds)

    def living(self) -> list[int]:
        """The process ids of those that have not died."""
        return [actor.program.pid for actor in self.actors if actor.program.process.poll() is None]

    def heal(self) -> None:
        for actor in self.actors:
            actor.proxy.heal()

    def settle(self) -> int:
        """The faults are over: wait for the last job. Returns how many have not ended in time."""
        self.heal()
        self.producer.stop()

        def waiting() -> int:
            try:
                sizes = self.queue.books(QUEUE).sizes
            except JobQueueError:
                return -1
            return sum(sizes[status] for status in STATUSES if status not in ENDED)

        try:
            eventually(waiting, equals=0, within_s=QUIET_S)
        except AssertionError:
            return waiting()
        finally:
            self.observer.stop()
        return 0

    def judge(self, left: int) -> Verdict:
        client, runs = self.server.client, self.ledger.runs()
        self.observer.look()
        there = {key[len(PREFIX) + 4 :] for key in client.scan_iter(f"{PREFIX}job:*", count=1000)}
        jobs = {job_id: client.hmget(f"{PREFIX}job:{job_id}", "status", "attempts") for job_id in there}
        statuses = [status for status, _ in jobs.values()]
        totals = self.queue.books(QUEUE).totals
        acked = set(self.producer.acked.values()) | self.told.keys()
        lost = acked - there - self.deleted
        answered = sorted(self.producer.acked_at.values())
        gaps = [after - before for before, after in itertools.pairwise(answered)]
        verdict = Verdict(
            lost=len(lost),
            phantom=len(there - acked - self.made),
            dup_success=max(0, totals.get("done", 0) - statuses.count("done") - self.undone),
            over_max=sum(
                len(runs[job_id]) > MAX_ATTEMPTS + (job_id in self.snoozed) for job_id in runs.keys() - self.operated
            ),
            violations=self.observer.violations,
            left=left,
            acked=len(acked),
            done=statuses.count("done"),
            failed=statuses.count("failed"),
            runs=sum(map(len, runs.values())),
            unrun=sum(max(0, int(attempts or 0) - len(runs.get(job_id, ()))) for job_id, (_, attempts) in jobs.items()),
            refused=totals.get("refused", 0),
            overlap_s=sum(map(overlap_s, runs.values())),
            recovery_s=[recovery for of_job in runs.values() for recovery in self._recoveries(of_job)],
            longest_gap_s=max(gaps, default=0.0),
        )
        if lost and self.server.killed_at:
            told, kills = self.producer.acked_at, self.server.killed_at
            before = [
                min((kill - told[job_id] for kill in kills if kill > told[job_id]), default=-1) for job_id in lost
            ]
            verdict.notes["acknowledged before Redis was killed"] = ", ".join(f"{s:.2f} s" for s in sorted(before))
        return verdict

    def _recoveries(self, runs: list[Run]) -> Iterator[float]:
        for run, following in itertools.pairwise(runs):
            if run.ended is None and run.pid in self.deaths:
                yield following.started - self.deaths[run.pid]

    def logs(self) -> str:
        return "\n".join(f"--- {program.name} {program.pid}\n{program.log[-4000:]}" for program in self.system.programs)

    def close(self) -> None:
        for actor in self.actors:
            actor.proxy.close()
        self.system.close(show_logs=False)
        self.server.close()
        self.ledger.close()
        if self.programs:
            shutil.rmtree(self.programs)
