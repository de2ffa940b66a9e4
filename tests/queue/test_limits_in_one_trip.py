"""Stories of a queue with limits whose workers end a job and claim the next one in the same call. That has two short ways: a permit
goes from hand to hand, and the first job of a queue where nobody waits aside is taken by itself. Both give what the long way gives."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from _jobqueue.limits import Limit
from _jobqueue.records import Settlement
from _jobqueue.store import limit_checks
from jobqueue import NewJob
from tests.harness import Server
from tests.played import Worker
from tests.queue.changed_scripts import change
from tests.queue.test_claim_model import FEW_MOVES, KITS
from tests.queue.test_claim_model import tell as tell_of_claims
from tests.queue.test_limit_model import NAMES, LimitStory, bind

STORIES, SEED = int(os.environ.get("LIMIT_STORIES", "20")), int(os.environ.get("LIMIT_SEED", "1"))
COUNTERS = {"claim_one": "jq:test:claim_one", "hand_over": "jq:test:hand_over"}  # how often a short way was gone


class ShortStory(LimitStory):
    """Few names, one common type: so mostly nobody waits aside, or all that wait do so for one name."""

    def __init__(self, server: Server, seed: int, moves: int) -> None:
        super().__init__(server, seed, moves)
        for name, limit in (("api", Limit(1, 0, 0)), ("cpu", Limit(2, 5, 1)), ("tenant:*", Limit(1, 0, 0))):
            self.queue.limits.put("default", name, limit)
            self.limits[name] = limit
        self.workers = self.workers[:3]
        self.steps = [self.submits] * 8 + [self.ends_and_claims] * 24 + [self.claims_as_time_passes] * 2
        self.steps += [self.cancels, self.settles, self.reaps, self.ticks]
        self.steps += [self.defines, self.forgets] if seed % 3 == 1 else []
        self.steps += [self.pauses_a_type, self.pauses] if seed % 3 == 2 else []

    def join(self, types: Sequence[str]) -> Worker:
        return super().join(KITS[0])

    def new_job(self, **options: Any) -> NewJob:
        if self.random.random() < 0.9:
            options |= {"type": "a", "expires_s": None}
        some = self.random.sample(NAMES[:3], self.random.choice([0, 1, 1, 1, 1, 2]))
        return replace(super().new_job(**options), limits=some)

    def settles(self) -> None:
        worker = self.random.choice(self.workers)
        worker.settle(*self.ended(worker))
        worker.running = []

    def ends_and_claims(self) -> None:
        """What has ended by then is known, so what may be claimed is too."""
        worker = self.random.choice(self.workers)
        want = self.random.choice([1, 1, 1, 1, 3])
        self.before_a_claim(want)
        jobs = self.hashes()
        for job in worker.running:
            found = jobs.get(job.id, {})
            if found.get("token") == job.token and found["status"] == "processing":
                found["status"] = "done"
        _, claimed = worker.exchange(*[Settlement(job.id, job.token, "done") for job in worker.running], want=want)
        got = [job.id for job in claimed]
        self.seen.update(claims=1, claimed=len(got), more=worker.talk.more)
        self.judge(jobs, worker, want, got)
        if self.random.random() < 0.1:
            assert [job.id for job in worker.again()[1]] == got
        worker.running = claimed


tell = partial(tell_of_claims, kind=ShortStory)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limit_checks, "AGAIN_S", 0)
    monkeypatch.setattr(limit_checks, "TWO_TICKS_S", 0)


def count(lua: Path) -> None:
    for part, line in (("claim_one", "  call('ZREM', key('queue'), id)\n"), ("hand_over", "  local _, rooms =")):
        change(lua, f"parts/{part}.lua", line, f"  call('INCR', '{COUNTERS[part]}')\n{line}")


@pytest.mark.parametrize("moves", [pytest.param(250, marks=pytest.mark.long(2)), FEW_MOVES])
def test_short_ways_give_what_the_long_one_gives(moves: int, lua: Path, server: Server) -> None:
    count(lua)
    bind(lua, moves)
    seen: Counter[str] = tell(server, 0, moves, 120)
    ways = {part: int(server.client.get(counter) or 0) for part, counter in COUNTERS.items()}
    assert min(ways.values()) > 1, ways
    assert seen["claimed"] > 40 and min(seen["under"], seen["shut"]) > 20


@pytest.mark.long(120)
@pytest.mark.parametrize("moves", [250, FEW_MOVES])
def test_many_stories(moves: int, lua: Path, server: Server) -> None:
    bind(lua, moves)
    for seed in range(SEED, SEED + STORIES):
        tell(server, seed, moves)
