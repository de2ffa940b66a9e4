"""Every step: at each message that a process exchanges with Redis the process is killed, or its connection is cut; before
Redis has got the message, once it has applied it but the answer is on its way, and after the answer.

What the steps are is recorded from a life without faults. A case is a step and a moment, with processes, proxy and queue
of its own; a few run at a time.
"""

from __future__ import annotations

import itertools
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import redis
import requests

from _jobqueue.records import Claimed
from _jobqueue.store.scripts import Script
from jobqueue import Filter, Job, JobQueue, NewJob, NotFound
from tests.faults.forge import Forge, Forged, forging
from tests.faults.ledger import Ledger, Run
from tests.faults.proxy import AFTER, BEFORE, MOMENTS, NAMES, Message, Proxy, Strike
from tests.harness import Server, eventually, free_port
from tests.played import Worker

pytestmark = pytest.mark.long(20)
AT_ONCE = 10
LEASE_S = "1.5"  # a killed worker's job waits for its end
GREETINGS = ("CLIENT SETNAME", "CLIENT SETINFO", "SELECT")
OUTAGE = ("no work until Redis is back", "Redis is back")


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


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with forging("--databases", "400") as (server, forge, ledger):
        yield Stage(server, forge, ledger, tmp_path)


class Scene:
    """One case while it is played."""

    def __init__(
        self, stage: Stage, case: Case, name_of: Callable[[Scene, Message], str], *, kill: bool = False
    ) -> None:
        self.stage, self.case, self.name_of, self.kill = stage, case, name_of, kill
        number = next(stage.numbers)
        self.queue, self.port = f"case-{number}", free_port()
        self.gate = stage.folder / f"gate-{number}"
        self.database = number if name_of is of_a_reaper else 0  # it looks after all the queues that there are
        self.url = f"{stage.server.url[:-1]}{self.database}"
        self.jobs = JobQueue(self.url)
        self.redis = redis.Redis(port=stage.server.port, db=self.database, decode_responses=True)
        self.proxy = Proxy(stage.server.port)
        self.proxy.rule = self._rule
        self.steps: list[str] = []  # in the order of their first messages
        self.part, self.counts, self.links = "start", Counter[str](), set[int]()  # for name_of
        self.programs: list[Forged] = []
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

    def start(self, name: str, *flags: str, **environment: str) -> Forged:
        """The first program talks to Redis through the proxy, those that follow directly."""
        url = self.url if self.programs else f"{self.proxy.url[:-1]}{self.database}"
        program = self.stage.forge.start(name, *flags, REDIS_URL=url, **environment)
        self.programs.append(program)
        self._victim.set()
        return program

    def worker(self, *flags: str, **environment: str) -> Forged:
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


# ----------------------------------------------------------------------------------------------- the life of a worker

LIFE = [
    *("PING 1", "HGETALL 1", "register 1", "extend at start", "exchange 1", "CLIENT ID 1", "BLMOVE 1", "exchange 2"),
    *("extend idle", "extend running", "exchange 3", "BLMOVE 2", "exchange 4"),
]
RETRIED = [*LIFE, "exchange 5", "BLMOVE 3", "exchange 6"]
CLAIM, SETTLEMENT = "exchange 2", "exchange 3"  # the claim is sent with BLMOVE, and answered when the job comes


def of_a_worker(scene: Scene, message: Message) -> str:
    """The beats come from another thread, when their time has come."""
    if message.label != "beat":
        return f"{message.label} {message.nth}"
    if message.nth == 1:
        return "extend at start"
    idle = b'"running": []' in message.words[5]
    return "" if CLAIM not in scene.steps else "extend idle" if idle else "extend running"


def life(scene: Scene, fails: int) -> Job:
    """A worker starts and waits; a job comes, runs through a beat, perhaps fails once, and is done."""
    scene.worker()
    scene.reaches("extend idle")
    job = scene.submit(fails=fails)
    scene.reaches("extend running")
    scene.gate.touch()
    if scene.case.step is None:
        scene.reaches("exchange 6" if fails else "exchange 4")
    scene.has_struck()
    return job


def applied(case: Case, step: str, steps: list[str]) -> bool:
    """Whether Redis had applied a step at the strike."""
    assert case.step
    at, of_step = steps.index(case.step), steps.index(step)
    return of_step < at or (of_step == at and case.moment != BEFORE)


def claimed(case: Case, steps: list[str]) -> bool:
    """Whether the job had come, and Redis claimed it, at the strike."""
    if case.step == "BLMOVE 1":  # its answer is the job's coming, and behind it Redis has run the claim
        return case.moment != BEFORE
    return case.step != "extend idle" and applied(case, CLAIM, steps)


def killed(scene: Scene, fails: int, steps: list[str]) -> None:
    """Another worker comes when the first is dead."""
    job = life(scene, fails)
    scene.worker()
    ended = scene.ends(job)
    before = scene.at_death[0] if scene.at_death else job
    if not fails:
        lost = claimed(scene.case, steps) and not applied(scene.case, SETTLEMENT, steps)
        assert (before.status == "processing") == lost
    expected = before.attempts if before.status == "done" else max(before.attempts, fails) + 1
    assert ended.attempts == expected, (before, ended)
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
def test_f2_a_worker_killed_at_any_step_costs_at_most_the_attempt_it_was_in(
    stage: Stage, fails: int, first: str
) -> None:
    stage.forge.start("reaper", "--interval", "0.1", PROCESSING_TIMEOUT_S=LEASE_S)
    make = partial(Scene, stage, name_of=of_a_worker, kill=True)
    steps = record(make, partial(life, fails=fails))
    assert without_greetings(steps) == (RETRIED if fails else LIFE)
    cases = cases_of(steps[steps.index(first) :])
    row = "F2, a worker killed at each message of a job that " + ("fails once" if fails else "succeeds")
    play_all(row, cases, make, partial(killed, fails=fails, steps=steps))


@pytest.mark.parametrize(("fails", "first"), [(0, "CLIENT SETNAME 1"), (1, "exchange 2")])
def test_f3_a_connection_cut_at_any_step_costs_nothing(stage: Stage, fails: int, first: str) -> None:
    stage.forge.start("reaper", "--interval", "0.1", PROCESSING_TIMEOUT_S="10")
    make = partial(Scene, stage, name_of=of_a_worker)
    steps = record(make, partial(life, fails=fails))
    assert without_greetings(steps) == (RETRIED if fails else LIFE)
    cases = cases_of(steps[steps.index(first) :])
    row = "F3, the connection cut at each message of a job that " + ("fails once" if fails else "succeeds")
    play_all(row, cases, make, partial(cut, fails=fails))


# -------------------------------------------------------------------------------------------------------- the API


REQUEST = [  # the start, then a POST to a queue that is new
    *("INFO 1", "CONFIG GET 1", "CONFIG GET 2"),
    *("rate 1", "HGETALL 1", "register 1", "HGETALL 2", "submit 1", "books 1"),
]


def posted(scene: Scene) -> requests.Response:
    """What a client gets that repeats its request until it is answered; a dead API is started again on its port."""
    at = f"http://127.0.0.1:{scene.port}/jobs"
    body = {"type": "noted", "payload": {}, "queue": scene.queue}
    while True:
        if not scene.programs or scene.programs[-1].process.poll() is not None:
            scene.start("api", "--port", str(scene.port))
        api = scene.programs[-1]
        eventually(partial(_listens_or_died, api))
        try:
            answer = requests.post(at, json=body, headers={"Idempotency-Key": scene.queue}, timeout=10)
        except requests.RequestException:  # not answered, or half
            eventually(api.process.poll, equals=-signal.SIGKILL)
            continue
        if answer.ok:
            return answer
        assert answer.status_code == 503, answer.text
        time.sleep(float(answer.headers["Retry-After"]))


def _listens_or_died(api: Forged) -> bool:
    return "listening" in api.log or api.process.poll() is not None


def one_job(scene: Scene) -> None:
    """However often the request came, it is one job, and it runs once."""
    first = posted(scene)
    again = posted(scene)
    assert again.status_code == 200 and again.headers["Idempotent-Replayed"] == "true"
    assert again.json()["job_id"] == first.json()["job_id"]
    assert scene.worker("--burst").exits() == 0
    job = scene.jobs.get(first.json()["job_id"])
    assert (job.status, job.attempts, len(scene.runs(job))) == ("done", 1, 1)
    scene.has_struck()
    assert "Traceback" not in scene.logs()
    scene.check()


@pytest.mark.parametrize("kill", [True, False])
def test_f4_a_request_repeated_under_its_key_is_one_job_whatever_happens_to_the_api(stage: Stage, kill: bool) -> None:
    make = partial(Scene, stage, name_of=plain, kill=kill)
    steps = record(make, posted)
    assert without_greetings(steps) == REQUEST
    row = (
        "F4, " + ("the API killed" if kill else "the API's connection cut") + " at each message of its start and a POST"
    )
    play_all(row, cases_of(steps), make, one_job)


# ----------------------------------------------------------------------------------------------------- the reaper

TICK = ["HGETALL 1", "expired 1", "MULTI 1", "promote 1", "trim 1", "trim 2", "trim 3", "reap 1", "EXEC 1"]
DEATH = ["HSCAN", "lower"]
REAPER = ["start: PING 1", *(f"first tick: {step}" for step in TICK), *DEATH]


def of_a_reaper(scene: Scene, message: Message) -> str:
    """What later ticks say was said by the first, but that a worker is dead."""
    if message.label in DEATH:
        return message.label
    if message.label == "HGETALL":
        scene.part = "first tick" if scene.part == "start" else ""
        scene.counts.clear()
    scene.counts[message.label] += 1
    return f"{scene.part}: {message.label} {scene.counts[message.label]}" if scene.part else ""


def strand(scene: Scene) -> tuple[str, str, str, str]:
    """A job whose lease ran out, one that a dead worker holds, one that is due, one that is past its retention."""
    jobs, queue = scene.jobs, scene.queue
    left, leaving = Worker(jobs, "left", 1, queue), Worker(jobs, "left", 2, queue, lease_ms=1)
    dead = Worker(jobs, "dead", queue=queue, lease_ms=60_000)

    def claimed(worker: Worker) -> Claimed:
        jobs.submit(queue=queue)
        return worker.claim()[0]

    old = claimed(left)
    left.end("done")
    scene.redis.zincrby(f"jq:{{{queue}}}:done", -61_000, old.id)
    expired, held = claimed(leaving), claimed(dead)
    dead.renew()
    due = jobs.submit(queue=queue, delay_s=0.001)
    for worker in (left, leaving, dead):
        worker.link.close()
    return expired.id, held.id, due.id, old.id


def reaper(scene: Scene) -> None:
    scene.start("reaper", "--interval", "0.05", PROCESSING_TIMEOUT_S="1", RESULT_TTL_S="60")


def recovery(scene: Scene) -> tuple[str, str, str, str]:
    stranded = strand(scene)
    reaper(scene)
    if scene.case.step is None:
        scene.reaches(REAPER[-1])
    scene.has_struck()
    return stranded


def recovered(scene: Scene) -> None:
    """Each job once where it belongs."""
    expired, held, due, old = recovery(scene)
    if scene.kill:
        reaper(scene)
    jobs, queue = scene.jobs, scene.queue
    eventually(lambda: jobs.books(queue).sizes, equals=lambda sizes: sizes["queued"] == sum(sizes.values()) == 3)
    assert {job_id: jobs.get(job_id).attempts for job_id in (expired, held, due)} == {expired: 1, held: 1, due: 0}
    with pytest.raises(NotFound):
        jobs.get(old)
    books = jobs.books(queue)
    assert books.missing == 0
    assert {name: books.totals[name] for name in ("submitted", "done", "reaped", "retried", "trimmed")} == {
        "submitted": 4,
        "done": 1,
        "reaped": 2,
        "retried": 2,
        "trimmed": 1,
    }
    assert jobs.check(queue) == []
    assert "Traceback" not in scene.logs()
    link = jobs.link()
    claims = [jobs.conversation(queue, f"end-{n}", 60_000, link).exchange(want=1)[1] for n in range(4)]
    link.close()
    assert [job.id for claim in claims for job in claim] == [expired, held, due]


@pytest.mark.parametrize("kill", [True, False])
def test_f5_a_reaper_struck_at_any_step_recovers_each_job_once(stage: Stage, kill: bool) -> None:
    make = partial(Scene, stage, name_of=of_a_reaper, kill=kill)
    steps = record(make, recovery)
    assert without_greetings(steps) == REAPER
    row = "F5, " + ("the reaper killed" if kill else "its connection cut") + " at each message of its ticks"
    play_all(row, cases_of(steps), make, recovered)


# ------------------------------------------------------------------------------------------------ a worker that leaves

LEAVING = [
    *("CLIENT SETINFO 1", "CLIENT SETINFO 2", "CLIENT SETNAME 1", "CLIENT UNBLOCK", "exchange 1"),
    *("extend at last", "extend while draining", "leave 1", "leave 2"),
]


def of_a_leaving_worker(scene: Scene, message: Message) -> str:
    """From the signal on. Its beat speaks of two queues, the other of which has an idle thread."""
    if scene.part == "start":
        scene.links.add(message.connection)
        return ""
    if message.label in ("beat", "exchange") and message.words[3].decode() != f"jq:{{{scene.queue}}}:":
        return ""
    if message.label == "beat":
        return "extend while draining" if message.connection in scene.links else "extend at last"
    if message.label == "CLIENT UNBLOCK":
        return message.label
    scene.counts[message.label] += 1
    return f"{message.label} {scene.counts[message.label]}"


def leave(scene: Scene, late: bool) -> list[Job]:
    """A worker with a running job and two that wait is told to stop. The job ends soon, or not at all (``late``)."""
    drain_s = "1" if late else "30"
    worker = scene.worker("--queues", f"{scene.queue}=1,{scene.queue}-idle=1", "--drain", drain_s)
    jobs = [scene.submit(), *(scene.jobs.submit("noted", {}, queue=scene.queue) for _ in range(2))]
    eventually(lambda: len(scene.runs(jobs[0])) == 1 and any(message.label == "BLMOVE" for message in scene.proxy.seen))
    scene.part = "told"
    worker.signal(signal.SIGTERM)
    scene.reaches("extend while draining")
    scene.reaches("CLIENT UNBLOCK")
    if not late:
        scene.gate.touch()
    if scene.case.step is None:
        assert worker.exits() == 0
    scene.has_struck()
    return jobs


def left(scene: Scene, late: bool, steps: list[str]) -> None:
    """What ran is done, or runs again; what waited has not noticed."""
    running, *waiting = leave(scene, late)
    code = scene.programs[0].exits(within_s=10)
    gone = scene.case == Case("leave 2", AFTER)  # with that answer it has nothing more to ask
    assert code == (-signal.SIGKILL if scene.kill else 0) or (gone and code == 0), code
    assert [(job.status, job.attempts) for job in map(scene.jobs.get, [job.id for job in waiting])] == [
        ("queued", 0)
    ] * 2
    scene.gate.touch()
    scene.worker()
    ended = scene.ends(running)
    settled = not scene.kill or applied(scene.case, "exchange 1", steps)
    assert ended.attempts == (1 if settled and not late else 2), ended
    kinds = [error["kind"] for error in ended.errors]
    assert kinds == (["interrupted"] if late else []) if settled else ["lease_expired"], kinds
    assert [scene.ends(job).attempts for job in waiting] == [1, 1]
    assert "Traceback" not in scene.logs()
    scene.check(jobs=3)


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("kill", [True, False])
def test_f6_a_worker_struck_at_any_step_of_its_leaving_loses_nothing(stage: Stage, kill: bool, late: bool) -> None:
    stage.forge.start("reaper", "--interval", "0.1", PROCESSING_TIMEOUT_S=LEASE_S if kill else "10")
    make = partial(Scene, stage, name_of=of_a_leaving_worker, kill=kill)
    steps = record(make, partial(leave, late=late))
    assert sorted(steps) == LEAVING
    row = f"F6, {'kill -9' if kill else 'a cut'} at each message after SIGTERM; the job ends {'too late' if late else 'in time'}"
    play_all(row, cases_of(steps), make, partial(left, late=late, steps=steps))


# ---------------------------------------------------------------------------------------- calls from Python, repeated


def failed_job(jobs: JobQueue, queue: str) -> str:
    job = jobs.submit(queue=queue)
    worker = Worker(jobs, job.id, queue=queue)
    worker.give("failed", kind="Fail")
    worker.link.close()
    return job.id


def running_job(jobs: JobQueue, queue: str) -> str:
    job = jobs.submit(queue=queue)
    worker = Worker(jobs, job.id, queue=queue)
    worker.claim()
    worker.link.close()
    return job.id


def waiting_job(jobs: JobQueue, queue: str) -> str:
    return jobs.submit(queue=queue).id


def scheduled_job(jobs: JobQueue, queue: str) -> str:
    return jobs.submit(queue=queue, delay_s=3600).id


def dead_letters(jobs: JobQueue, queue: str) -> str:
    return max(failed_job(jobs, queue) for _ in range(3))


def nothing(jobs: JobQueue, queue: str) -> str:
    return ""


# What is there before, and the call.
Call = tuple[Callable[[JobQueue, str], str], Callable[[JobQueue, str, str], Any]]
CALLS: dict[str, Call] = {
    "submit": (nothing, lambda jobs, queue, job_id: jobs.submit("noop", {"n": 1}, queue=queue).status),
    "submit under a key": (nothing, lambda jobs, queue, job_id: jobs.submit(queue=queue, key="k", tags=["a"]).status),
    "submit a unique job": (nothing, lambda jobs, queue, job_id: jobs.submit(queue=queue, unique_key="u").status),
    "submit many": (nothing, lambda jobs, queue, job_id: len(jobs.submit_many([NewJob(queue=queue)] * 300, key="k"))),
    "cancel what waits": (waiting_job, lambda jobs, queue, job_id: jobs.cancel(job_id)),
    "cancel what runs": (running_job, lambda jobs, queue, job_id: jobs.cancel(job_id)),
    "retry": (failed_job, lambda jobs, queue, job_id: jobs.retry(job_id)),
    "retry with another payload": (failed_job, lambda jobs, queue, job_id: jobs.retry(job_id, {"n": 2})),
    "retry many": (dead_letters, lambda jobs, queue, job_id: jobs.sweep("retry", Filter(queue=queue, kind="Fail"))[:3]),
    "delete many": (dead_letters, lambda jobs, queue, job_id: jobs.sweep("delete", Filter(queue=queue))[:3]),
    "cancel two": (waiting_job, lambda jobs, queue, job_id: jobs.act_on("cancel", [job_id, "x"])[:3]),
    "requeue": (dead_letters, lambda jobs, queue, job_id: jobs.requeue_dead(queue)[1]),
    "run now": (scheduled_job, lambda jobs, queue, job_id: jobs.run_now(job_id)),
    "pause": (waiting_job, lambda jobs, queue, job_id: jobs.pause(queue)),
    "delete": (waiting_job, lambda jobs, queue, job_id: jobs.delete(job_id)),
}


def call(scene: Scene, of: Call) -> None:
    """What it answers, and what is then there."""
    prepare, act = of
    job_id = prepare(scene.jobs, scene.queue)
    scene.answer = act(JobQueue(scene.proxy.url), scene.queue, job_id)
    books = scene.jobs.books(scene.queue)
    scene.end = books.sizes, books.totals, books.paused, books.missing


@pytest.mark.parametrize("name", CALLS)
def test_a_call_over_a_cut_connection_does_and_answers_what_it_would_have_without(stage: Stage, name: str) -> None:
    make = partial(Scene, stage, name_of=plain)
    without = make(Case(None))
    call(without, CALLS[name])

    def same(scene: Scene) -> None:
        call(scene, CALLS[name])
        assert (scene.answer, scene.end) == (without.answer, without.end)
        scene.has_struck()  # after the last answer, a moment later
        assert scene.jobs.check(scene.queue) == []

    assert without.steps and without.jobs.check(without.queue) == []
    play_all(f"A cut at each message of: {name}", cases_of(without.steps), make, same)
    without.close()
