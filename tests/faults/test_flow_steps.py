"""A job that many wait for ends (F63): at each message of that the process which tells them is killed, or its connection cut."""

from __future__ import annotations

from functools import partial

import pytest

from jobqueue import Job, NewJob
from tests.faults.proxy import Message
from tests.faults.scene import LEASE_S, Scene, Stage, cases_of, play_all, record
from tests.faults.test_steps import of_a_worker
from tests.harness import eventually
from tests.played import Worker

pytestmark = pytest.mark.long(10)

CHILDREN = 1000  # the script that ends their parent tells 250 of them, and each that follows as many
ENDING = ["exchange 3", "tell 1", "tell 2", "tell 3", "BLMOVE 2", "exchange 4"]
TELLING = [f"{label} {n}" for n in (1, 2, 3) for label in ("MULTI", "tell", "EXEC")]


def submit_children(scene: Scene, parent: str, when: str = "done") -> None:
    """Nobody handles these: each is queued once, and stays there."""
    new = [NewJob("nobody", queue=scene.queue, after=[parent], when=when)] * CHILDREN
    assert all(answer.job for answer in scene.jobs.submit_many(new))


def life_of_a_parent(scene: Scene, fails: bool = False) -> Job:
    """A worker runs a job that many wait for."""
    scene.worker()
    scene.reaches("extend idle")
    job = scene.submit(fails="always") if fails else scene.submit()
    submit_children(scene, job.id, "ended" if fails else "done")
    scene.reaches("extend running")
    scene.gate.touch()
    if scene.case.step is None:
        scene.reaches("exchange 4")
    scene.has_struck()
    return job


def are_told(scene: Scene, status: str) -> None:
    """All children are told, each once, and nothing is owed to anybody."""
    eventually(lambda: scene.jobs.books(scene.queue).sizes["blocked"], equals=0)
    eventually(lambda: scene.redis.exists(f"jq:{{{scene.queue}}}:ends"), equals=0)
    books = scene.jobs.books(scene.queue)
    assert (books.sizes["queued"], books.sizes[status], books.missing) == (CHILDREN, 1, 0)
    assert scene.jobs.check(scene.queue) == []


def released(scene: Scene, fails: bool) -> None:
    """Whoever dies, all children are told by the next tick or two."""
    job, status = life_of_a_parent(scene, fails), "failed" if fails else "done"
    scene.start("reaper", "--interval", "0.1", PROCESSING_TIMEOUT_S=LEASE_S if scene.kill else "10")
    if scene.kill:
        scene.worker()
    eventually(lambda: scene.jobs.get(job.id).status, equals=status, within_s=20)
    are_told(scene, status)


@pytest.mark.parametrize("fails", [False, True], ids=["done", "failed"])
@pytest.mark.parametrize("kill", [True, False], ids=["killed", "cut"])
def test_f63_children_are_told_whoever_dies_in_which_step_of_an_end(kill: bool, fails: bool, stage: Stage) -> None:
    make = partial(Scene, stage, name_of=of_a_worker, kill=kill, alone=True)  # a reaper comes when it has struck
    steps = record(make, partial(life_of_a_parent, fails=fails))
    assert [step for step in steps if step in ENDING] == ENDING
    how = f"{'kill -9' if kill else 'a cut'} at each message of the end of a job that {CHILDREN} wait for"
    row = f"F63, {how}, {'failed' if fails else 'done'}"
    play_all(row, cases_of(ENDING), make, partial(released, fails=fails))


def of_a_telling_reaper(scene: Scene, message: Message) -> str:
    """Its first transactions with children to tell."""
    if message.label not in ("MULTI", "tell", "EXEC"):
        return ""
    step = f"{message.label} {message.nth}"
    return step if step in TELLING else ""


def told_by_a_reaper(scene: Scene) -> None:
    """The parent has ended, and told the first only: its worker has died. The first reaper dies too, or is cut off."""
    worker = Worker(scene.jobs, queue=scene.queue)
    parent = scene.jobs.submit(queue=scene.queue)
    submit_children(scene, parent.id)
    worker.claim()
    worker.end("done")
    worker.link.close()
    assert scene.jobs.books(scene.queue).sizes["blocked"] == CHILDREN - 250
    scene.start("reaper", "--interval", "0.05")
    if scene.case.step is None:
        scene.reaches(TELLING[-1])
    scene.has_struck()
    if scene.kill and scene.case.step:
        scene.start("reaper", "--interval", "0.05")
    are_told(scene, "done")


@pytest.mark.parametrize("kill", [True, False], ids=["killed", "cut"])
def test_f63_children_are_told_whatever_happens_to_the_reaper(kill: bool, stage: Stage) -> None:
    make = partial(Scene, stage, name_of=of_a_telling_reaper, kill=kill, alone=True)
    steps = record(make, told_by_a_reaper)
    assert steps == TELLING
    row = f"F63, {'kill -9' if kill else 'a cut'} at each message of a reaper that tells the other {CHILDREN - 250}"
    play_all(row, cases_of(TELLING), make, told_by_a_reaper)
