"""Every step: at each message that a process exchanges with Redis the process is killed, or its connection is cut; before
Redis has got the message, once it has applied it but the answer is on its way, and after the answer.

What the steps are is recorded from a life without faults. A case is a step and a moment, with processes, proxy and queue
of its own; a few run at a time.
"""

from __future__ import annotations

import itertools
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import requests

from jobqueue import Job, JobQueue, NewJob, NotFound, Script, Settlement, Unavailable
from tests.faults.forge import Forge, Forged
from tests.faults.ledger import Ledger, Run
from tests.faults.proxy import APPLIED, BEFORE, MOMENTS, NAMES, Message, Proxy, Strike
from tests.harness import Server, eventually, free_port

AT_ONCE = 8
OUTAGE = ("no work until Redis is back", "Redis is back")


class Case(NamedTuple):
    """None: a life without a strike, to record what its steps are."""

    step: str | None
    moment: str = ""

    def __str__(self) -> str:
        return f"{self.step}, {self.moment}"


class Stage:
    """What the cases of a test share: Redis, a reaper if they need one, and the file that handlers write to."""

    def __init__(self, server: Server, forge: Forge, ledger: Ledger) -> None:
        self.server, self.forge, self.ledger = server, forge, ledger
        self.jobs = JobQueue(server.url)
        self.numbers = itertools.count(1)
        for name in NAMES.values():  # or the first process that uses a script sends it twice
            server.client.script_load(Script(name).text)


@pytest.fixture
def stage() -> Iterator[Stage]:
    server = Server("--databases", "400")
    with ExitStack() as stack:
        stack.callback(server.close)
        forge, ledger = Forge(server), Ledger()
        stack.callback(ledger.close)
        stack.callback(forge.close)
        yield Stage(server, forge, ledger)


class Scene:
    """One case while it is played."""

    def __init__(self, stage: Stage, case: Case, name_of: Callable[[Scene, Message], str], *, kill: bool = False) -> None:
        self.stage, self.case, self.name_of, self.kill = stage, case, name_of, kill
        self.number = next(stage.numbers)
        self.queue = f"case-{self.number}"
        self.proxy = Proxy(stage.server.port)
        self.proxy.rule = self._rule
        self.steps: list[str] = []  # in the order of their first messages
        self.programs: list[Forged] = []
        self._lock = threading.Lock()
        self._victim = threading.Event()
        gate = tempfile.mktemp(prefix="jobqueue-gate-")
        self.gate = Path(gate)

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

    def start(self, name: str, *flags: str, **environment: str) -> Forged:
        """The first program talks to Redis through the proxy, those that follow directly."""
        url = {} if self.programs else {"REDIS_URL": self.proxy.url}
        program = self.stage.forge.start(name, *flags, **url | environment)
        self.programs.append(program)
        self._victim.set()
        return program

    def worker(self, *flags: str, **environment: str) -> Forged:
        ours = {"PROCESSING_TIMEOUT_S": "1"} | self.stage.ledger.environment
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
        return self.stage.jobs.submit("noted", waits | payload, queue=self.queue, timeout_s=60, backoff_s=0.3)

    def ends(self, job: Job) -> Job:
        eventually(lambda: self.stage.jobs.get(job.id).status, equals="done", within_s=20)
        return self.stage.jobs.get(job.id)

    def runs(self, job: Job) -> list[Run]:
        return self.stage.ledger.runs()[job.id]

    def check(self, jobs: int = 1) -> None:
        """Every invariant holds, the books balance, each job has succeeded once, and the reaper sees every slot."""
        assert self.stage.jobs.check(self.queue) == []
        books = self.stage.jobs.books(self.queue)
        assert books.missing == 0 and books.totals["submitted"] == books.totals["done"] == jobs, books
        redis, prefix = self.stage.server.client, f"jq:{{{self.queue}}}:"
        workers = set(redis.zrange(f"{prefix}workers", 0, -1))
        slots = [key.removeprefix(f"{prefix}processing:") for key in redis.scan_iter(f"{prefix}processing:*", count=1000)]
        assert {slot.rpartition("-")[0] for slot in slots} <= workers
        assert all(redis.hexists(f"{prefix}slots", slot) for slot in slots)

    def close(self) -> None:
        for program in self.programs:
            program.kill()
        self.proxy.close()
        self.gate.unlink(missing_ok=True)

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


def plain(scene: Scene, message: Message) -> str:
    """A process with one thread of messages says the same each time."""
    return f"{message.label} {message.nth}"


# ----------------------------------------------------------------------------------------------- the life of a worker

SLOTS = ("exchange", "BLMOVE")  # of its thread; the beats come from another, when their time has come
LIFE = [
    *("CLIENT SETNAME 1", "CLIENT SETINFO 1", "CLIENT SETINFO 2", "PING 1", "HGETALL 1", "register 1"),
    *("CLIENT SETNAME 2", "CLIENT SETINFO 3", "CLIENT SETINFO 4", "extend at start"),
    *("CLIENT SETNAME 3", "CLIENT SETINFO 5", "CLIENT SETINFO 6", "exchange 1", "CLIENT ID 1", "BLMOVE 1"),
    *("extend after BLMOVE 1", "exchange 2", "extend after exchange 2", "exchange 3", "BLMOVE 2"),
]
RETRIED = [*LIFE, "exchange 4", "exchange 5", "BLMOVE 3"]
CLAIMS, SETTLEMENTS = ("exchange 2", "exchange 4"), ("exchange 3", "exchange 5")


def of_a_worker(scene: Scene, message: Message) -> str:
    if message.label != "extend":
        return f"{message.label} {message.nth}"
    if message.nth == 1:
        return "extend at start"
    last = next((step for step in reversed(scene.steps) if step.startswith(SLOTS)), "")
    return f"extend after {last}" if last in ("BLMOVE 1", "exchange 2") else ""


def life(scene: Scene, fails: int) -> Job:
    """A worker starts and waits; a job comes, runs through a beat, perhaps fails once, and is done."""
    scene.worker()
    scene.reaches("extend after BLMOVE 1")
    job = scene.submit(fails=fails)
    scene.reaches("extend after exchange 2")
    scene.gate.touch()
    if scene.case.step is None:
        scene.reaches("BLMOVE 3" if fails else "BLMOVE 2")
    scene.has_struck()
    return job


def applied(case: Case, step: str, steps: list[str]) -> bool:
    """Whether Redis had applied a step at the strike."""
    assert case.step
    at, of_step = steps.index(case.step), steps.index(step)
    return of_step < at or (of_step == at and case.moment != BEFORE)


def killed(scene: Scene, fails: int, steps: list[str]) -> None:
    """Another worker comes when the first is dead."""
    job = life(scene, fails)
    scene.worker()
    ended = scene.ends(job)
    claims, settled = (
        sum(applied(scene.case, step, steps) for step in of if step in steps) for of in (CLAIMS, SETTLEMENTS)
    )
    assert ended.attempts == max(fails + 1, claims + (claims > settled)), ended
    runs = scene.runs(job)  # one less when the worker died between the claim and the handler's start
    assert ended.attempts - 1 <= len(runs) <= ended.attempts <= ended.max_attempts
    assert runs[-1].attempt == ended.attempts and runs[-1].ended
    scene.check()


def cut(scene: Scene, fails: int) -> None:
    """The worker goes on by itself, and nobody notices."""
    job = life(scene, fails)
    ended = scene.ends(job)
    assert (ended.attempts, len(scene.runs(job)), len(ended.errors)) == (fails + 1, fails + 1, fails)
    worker = scene.programs[0]
    assert worker.process.poll() is None
    assert "Traceback" not in worker.log and "refused" not in worker.log
    assert sum(line in worker.log for line in OUTAGE) <= 2
    scene.check()


@pytest.mark.parametrize(("fails", "first"), [(0, "CLIENT SETNAME 1"), (1, "exchange 2")])
def test_f2_a_worker_killed_at_any_step_costs_at_most_the_attempt_it_was_in(stage: Stage, fails: int, first: str) -> None:
    stage.forge.start("reaper", "--interval", "0.1", PROCESSING_TIMEOUT_S="1")
    make = partial(Scene, stage, name_of=of_a_worker, kill=True)
    steps = record(make, partial(life, fails=fails))
    assert steps == (RETRIED if fails else LIFE)
    cases = cases_of(steps[steps.index(first) :])
    row = "F2, a worker killed at each message of a job that " + ("fails once" if fails else "succeeds")
    play_all(row, cases, make, partial(killed, fails=fails, steps=steps))


@pytest.mark.parametrize(("fails", "first"), [(0, "CLIENT SETNAME 1"), (1, "exchange 2")])
def test_f3_a_connection_cut_at_any_step_costs_nothing(stage: Stage, fails: int, first: str) -> None:
    stage.forge.start("reaper", "--interval", "0.1", PROCESSING_TIMEOUT_S="10")
    make = partial(Scene, stage, name_of=of_a_worker)
    steps = record(make, partial(life, fails=fails))
    assert steps == (RETRIED if fails else LIFE)
    cases = cases_of(steps[steps.index(first) :])
    row = "F3, the connection cut at each message of a job that " + ("fails once" if fails else "succeeds")
    play_all(row, cases, make, partial(cut, fails=fails))


# -------------------------------------------------------------------------------------------------------- the API


def posted(scene: Scene) -> requests.Response:
    """What a client gets that repeats its request until it is answered; a dead API is started again on its port."""
    at = f"http://127.0.0.1:{scene.port}"
    body = {"type": "noted", "payload": {}, "queue": scene.queue}
    while True:
        if scene.programs[-1].process.poll() is not None:
            scene.start("api", "--port", str(scene.port))
        scene.programs[-1].says("listening")
        try:
            answer = requests.post(f"{at}/jobs", json=body, headers={"Idempotency-Key": scene.queue}, timeout=10)
        except requests.ConnectionError:
            eventually(lambda: scene.programs[-1].process.poll() is not None)
            continue
        if answer.ok:
            return answer
        assert answer.status_code == 503, answer.text
        time.sleep(float(answer.headers["Retry-After"]))


def request(scene: Scene) -> requests.Response:
    scene.port = free_port()
    scene.start("api", "--port", str(scene.port))
    if scene.case.step is not None and scene.kill:
        eventually(lambda: scene.struck or "listening" in scene.programs[0].log)
    return posted(scene)


def one_job(scene: Scene) -> None:
    """However often the request came, it is one job, and it runs once."""
    first = request(scene)
    again = posted(scene)
    assert again.status_code == 200 and again.headers["Idempotent-Replayed"] == "true"
    assert again.json()["job_id"] == first.json()["job_id"]
    assert scene.worker("--burst").exits() == 0
    job = scene.stage.jobs.get(first.json()["job_id"])
    assert (job.status, job.attempts, len(scene.runs(job))) == ("done", 1, 1)
    assert scene.struck and "Traceback" not in scene.logs()
    scene.check()


@pytest.mark.parametrize("kill", [True, False])
def test_f4_a_request_repeated_under_its_key_is_one_job_whatever_happens_to_the_api(stage: Stage, kill: bool) -> None:
    make = partial(Scene, stage, name_of=plain, kill=kill)
    steps = record(make, request)
    assert [step for step in steps if not step.startswith("CLIENT")] == []
    row = "F4, " + ("the API killed" if kill else "the API's connection cut") + " at each message of its start and a POST"
    play_all(row, cases_of(steps), make, one_job)
