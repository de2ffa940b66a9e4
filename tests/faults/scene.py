"""A life of a program, told step by step, and struck at one of them.

What the steps are is recorded from a life without faults. A case is a step and a moment, with processes, proxy and queue
of its own; a few run at a time."""

from __future__ import annotations

import itertools
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import redis

from _jobqueue.store.scripts import Script
from jobqueue import Filter, Job, JobQueue
from tests.faults.forge import Forge
from tests.faults.ledger import Ledger, Run
from tests.faults.proxy import MOMENTS, NAMES, Message, Proxy, Strike
from tests.harness import Program, Server, eventually, free_port

AT_ONCE = 10


LEASE_S = "1.5"  # a killed worker's job waits for its end


GREETINGS = ("CLIENT SETNAME", "CLIENT SETINFO", "SELECT")


class Case(NamedTuple):
    """None: a life without a strike, to record what its steps are."""

    step: str | None
    moment: str = ""

    def __str__(self) -> str:
        return f"{self.step}, {self.moment}"


class Stage:
    """What the cases of a test share: Redis, a reaper if they need one, and the file that handlers write to."""

    def __init__(self, server: Server, forge: Forge, ledger: Ledger, folder: Path) -> None:
        self.server, self.forge, self.ledger, self.folder = server, forge, ledger, folder
        self.numbers = itertools.count(1)
        for name in NAMES.values():  # or the first process that uses a script sends it twice
            server.client.script_load(Script(name).text)


class Scene:
    """One case while it is played."""

    def __init__(
        self,
        stage: Stage,
        case: Case,
        name_of: Callable[[Scene, Message], str],
        *,
        kill: bool = False,
        alone: bool = False,
    ) -> None:
        """``alone``: on a database of its own, for a program that looks after all the queues that there are."""
        self.stage, self.case, self.name_of, self.kill = stage, case, name_of, kill
        number = next(stage.numbers)
        self.queue, self.port = f"case-{number}", free_port()
        self.gate = stage.folder / f"gate-{number}"
        self.database = number if alone else 0
        self.url = f"{stage.server.url[:-1]}{self.database}"
        self.jobs = JobQueue(self.url)
        self.redis = redis.Redis(port=stage.server.port, db=self.database, decode_responses=True)
        self.proxy = Proxy(stage.server.port)
        self.proxy.rule = self._rule
        self.steps: list[str] = []  # in the order of their first messages
        self.part, self.counts, self.links = "start", Counter[str](), set[int]()  # for name_of
        self.programs: list[Program] = []
        self.at_death: list[Job] = []
        self._lock = threading.Lock()
        self._victim = threading.Event()

    def _rule(self, message: Message) -> Strike | None:
        with self._lock:
            step = self.name_of(self, message)
            if not step or step in self.steps:
                return None
            self.steps.append(step)
        return Strike(self.case.moment, self._strike) if step == self.case.step else None

    def _strike(self) -> None:
        if self.kill:
            self._victim.wait()  # the first message may come before its sender is known
            self.programs[0].signal(signal.SIGKILL)
            self.programs[0].process.wait()
            self.at_death = self.jobs.page(Filter(queue=self.queue)).jobs

    def start(self, name: str, *flags: str, **environment: str) -> Program:
        """The first program talks to Redis through the proxy, those that follow directly."""
        url = self.url if self.programs else f"{self.proxy.url[:-1]}{self.database}"
        program = self.stage.forge.start(name, *flags, REDIS_URL=url, **environment)
        self.programs.append(program)
        self._victim.set()
        return program

    def worker(self, *flags: str, **environment: str) -> Program:
        ours = {"PROCESSING_TIMEOUT_S": LEASE_S if self.kill else "3"} | self.stage.ledger.environment
        queues = () if "--queues" in flags else ("--threads", "1", "--queues", self.queue)
        return self.start("worker", "--handlers", "tests.faults.ledger", *queues, *flags, **ours | environment)

    @property
    def struck(self) -> bool:
        return self.proxy.struck.is_set()

    def reaches(self, step: str) -> None:
        """Wait until the step is taken, or the strike has made that impossible."""
        eventually(lambda: self.struck or (step in self.steps and step != self.case.step))

    def has_struck(self) -> None:
        eventually(lambda: self.struck or self.case.step is None, within_s=15)

    def submit(self, **payload: Any) -> Job:
        waits = {"gate": str(self.gate)}
        return self.jobs.submit("noted", waits | payload, queue=self.queue, timeout_s=60, backoff_s=0.3)

    def ends(self, job: Job) -> Job:
        eventually(lambda: self.jobs.get(job.id).status, equals="done", within_s=20)
        return self.jobs.get(job.id)

    def runs(self, job: Job) -> list[Run]:
        return self.stage.ledger.runs()[job.id]

    def check(self, jobs: int = 1) -> None:
        """Every invariant holds, the books balance, each job has succeeded once, and the reaper sees every slot."""
        assert self.jobs.check(self.queue) == []
        books = self.jobs.books(self.queue)
        assert books.missing == 0 and books.totals["submitted"] == books.totals["done"] == jobs, books
        client, prefix = self.redis, f"jq:{{{self.queue}}}:"
        workers = set(client.zrange(f"{prefix}workers", 0, -1))
        slots = [
            key.removeprefix(f"{prefix}processing:") for key in client.scan_iter(f"{prefix}processing:*", count=1000)
        ]
        assert {slot.rpartition("-")[0] for slot in slots} <= workers
        assert all(client.hexists(f"{prefix}slots", slot) for slot in slots)

    def close(self) -> None:
        for program in self.programs:
            program.kill()
        self.proxy.close()

    def logs(self) -> str:
        return "\n".join(f"--- {program.name} {program.pid}\n{program.log}" for program in self.programs)


Story = Callable[[Scene], Any]


Make = Callable[[Case], Scene]


def record(make: Make, play: Story) -> list[str]:
    """The steps of a life without faults."""
    scene = make(Case(None))
    try:
        play(scene)
        return list(scene.steps)
    finally:
        scene.close()


def play_all(row: str, cases: list[Case], make: Make, play: Story) -> None:
    """Play every case and say how it went. Each story is an assertion of its own."""

    def played(case: Case) -> str | None:
        scene = make(case)
        try:
            play(scene)
            return None
        except Exception as error:
            return f"=== {case}: {type(error).__name__}: {error}\nsteps: {scene.steps}\n{scene.logs()}"
        finally:
            scene.close()

    began = time.monotonic()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        failures = [failure for failure in pool.map(played, cases) if failure]
    print(f"{row}: {len(cases)} cases, {len(failures)} failures, {time.monotonic() - began:.0f} s")
    assert not failures, "\n".join(failures)


def cases_of(steps: list[str]) -> list[Case]:
    return [Case(step, moment) for step in steps for moment in MOMENTS]


def without_greetings(steps: list[str]) -> list[str]:
    """But for what each new connection says first. How many connections there are may change."""
    return [step for step in steps if not any(greeting in step for greeting in GREETINGS)]


def plain(scene: Scene, message: Message) -> str:
    """A process with one thread of messages says the same each time."""
    return f"{message.label} {message.nth}"
