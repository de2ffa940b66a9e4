"""A job that is snoozed once: its worker is killed, or its connection cut, at each message (F2, F3)."""

from __future__ import annotations

from functools import partial

import pytest

from jobqueue import Job
from tests.faults.scene import LEASE_S, Scene, Stage, cases_of, play_all, record, without_greetings
from tests.faults.test_steps import RETRIED, SETTLEMENT, of_a_worker

pytestmark = pytest.mark.long(10)


def life(scene: Scene) -> Job:
    """A worker starts and waits; a job comes, runs through a beat, is snoozed, comes back, and is done."""
    scene.worker()
    scene.reaches("extend idle")
    job = scene.submit(snoozed=f"{scene.gate}.snoozed")
    scene.reaches("extend running")
    scene.gate.touch()
    if scene.case.step is None:
        scene.reaches("exchange 6")
    scene.has_struck()
    return job


def killed(scene: Scene) -> None:
    """A snooze that was stored costs no attempt, one that was not the attempt it was in."""
    job = life(scene)
    scene.worker()
    ended = scene.ends(job)
    before = scene.at_death[0] if scene.at_death else job
    assert ended.attempts == before.attempts + (before.status != "done"), (before, ended)
    assert ended.snoozes <= 1
    runs = scene.runs(job)
    assert runs[-1].attempt == ended.attempts and runs[-1].ended
    scene.check()


def cut(scene: Scene) -> None:
    """The worker goes on by itself; the snooze counts once."""
    job = life(scene)
    ended = scene.ends(job)
    assert (ended.attempts, ended.snoozes, ended.errors) == (1, 1, [])
    assert "Traceback" not in scene.programs[0].log and "refused" not in scene.programs[0].log
    scene.check()


@pytest.mark.parametrize("kill", [True, False], ids=["killed", "cut"])
def test_a_snooze_counts_once_whatever_happens_to_its_worker(kill: bool, stage: Stage) -> None:
    stage.forge.start("reaper", "--interval", "0.1", PROCESSING_TIMEOUT_S=LEASE_S if kill else "10")
    make = partial(Scene, stage, name_of=of_a_worker, kill=kill)
    steps = record(make, life)
    assert without_greetings(steps) == RETRIED
    struck = steps[steps.index(SETTLEMENT) :]
    row = f"{'F2, a worker killed' if kill else 'F3, the connection cut'} at each message from a snooze on"
    play_all(row, cases_of(struck), make, killed if kill else cut)
