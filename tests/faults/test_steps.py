"""Every step: at each message that a process exchanges with Redis the process is killed, or its connection is cut. That happens
before Redis has got the message, once it has applied it but the answer is on its way, and after the answer."""

from __future__ import annotations

import signal
import time
from functools import partial

import pytest
import requests

from _jobqueue.records import Claimed
from jobqueue import Job, NotFound
from tests.faults.proxy import AFTER, BEFORE, Message
from tests.faults.scene import (
    LEASE_S,
    Case,
    Scene,
    Stage,
    cases_of,
    plain,
    play_all,
    record,
    without_greetings,
)
from tests.harness import Program, eventually
from tests.played import Worker

pytestmark = pytest.mark.long(10)


OUTAGE = ("no work until Redis is back", "Redis is back")


# --------------------------------------------------------------------------------------------------- the life of a worker


IS_IT_NEW_ENOUGH = "INFO 1", "CONFIG GET 1", "CONFIG GET 2"


LIFE = [
    *(
        "PING 1",
        *IS_IT_NEW_ENOUGH,
        "HGETALL 1",
        "HDEL 1",
        "register 1",
        "extend at start",
        "exchange 1",
        "CLIENT ID 1",
        "BLMOVE 1",
        "exchange 2",
    ),
    *("extend idle", "extend running", "exchange 3", "BLMOVE 2", "exchange 4"),
]


RETRIED = [*LIFE, "exchange 5", "BLMOVE 3", "exchange 6"]


CHILDREN = 400  # more than the script that ends their parent tells, and no more than the next one does


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


# ---------------------------------------------------------------------------------------------------------------- the API


REQUEST = [  # the start, then a POST to a queue that is new
    *(*IS_IT_NEW_ENOUGH, "HGETALL 1", "INFO 2", "CONFIG GET 3", "CONFIG GET 4"),
    *("rate 1", "GET 1", "register 1", "HGETALL 2", "submit 1", "look 1"),
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


def _listens_or_died(api: Program) -> bool:
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


# ------------------------------------------------------------------------------------------------------------- the reaper


TICK = [
    "HGETALL 1",
    "ZRANGE 1",
    "expired 1",
    "MULTI 1",
    "expire 1",
    "promote 1",
    "trim 1",
    "trim 2",
    "trim 3",
    "reap 1",
    "let_in 1",
    "tidy 1",
    "tell 1",
    "EXEC 1",
    "sum 1",
]


DEATH = ["HSCAN", "lower"]


START = [f"start: {step}" for step in ("PING 1", *IS_IT_NEW_ENOUGH, "HGETALL 1", "HGET 1")]


REAPER = [*START, *(f"first tick: {step}" for step in TICK), *DEATH]


def of_a_reaper(scene: Scene, message: Message) -> str:
    """What later ticks say was said by the first, but that a worker is dead. Some seconds after a minute has ended the note for
    charts looks at it too: whether this is the time, no test should depend on."""
    if message.label in DEATH:
        return message.label
    if message.label == "by_type" or (message.label == "sum" and scene.counts["sum"]):
        return ""
    if message.label == "HGETALL" and scene.counts["HGETALL"]:
        scene.part = "first tick" if scene.part == "start" else ""
        scene.counts.clear()
    scene.counts[message.label] += 1
    return f"{scene.part}: {message.label} {scene.counts[message.label]}" if scene.part else ""


def strand(scene: Scene) -> tuple[str, str, str, str]:
    """A job whose lease ran out, one that a dead worker holds, one that is due, one that is past its retention. The last has not
    started in time."""
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
    jobs.submit(queue=queue, expires_s=0.001)
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
    eventually(lambda: jobs.books(queue).sizes, equals=lambda sizes: sizes["queued"] == sum(sizes.values()) - 1 == 3)
    assert {job_id: jobs.get(job_id).attempts for job_id in (expired, held, due)} == {expired: 1, held: 1, due: 0}
    with pytest.raises(NotFound):
        jobs.get(old)
    books = jobs.books(queue)
    assert books.missing == 0
    assert {
        name: books.totals[name]
        for name in ("submitted", "done", "cancelled", "expired", "reaped", "retried", "trimmed")
    } == {
        "submitted": 5,
        "done": 1,
        "cancelled": 1,
        "expired": 1,
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
    make = partial(Scene, stage, name_of=of_a_reaper, kill=kill, alone=True)
    steps = record(make, recovery)
    assert without_greetings(steps) == REAPER
    row = "F5, " + ("the reaper killed" if kill else "its connection cut") + " at each message of its ticks"
    play_all(row, cases_of(steps), make, recovered)


# --------------------------------------------------------------------------------------------------- a worker that leaves


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
    gone = scene.case.moment == AFTER and applied(
        scene.case, "exchange 1", steps
    )  # it may have ended before it is struck
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
