"""Limits and fair keys together: both hold at once. The stories of fair keys, told with jobs under limits."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from _jobqueue.limits import Limit
from _jobqueue.store import limit_checks
from jobqueue import NewJob
from tests.harness import Server
from tests.played import Q
from tests.queue.changed_scripts import change
from tests.queue.test_fair_model import Able, Story
from tests.queue.test_fair_model import tell as tell_of_turns

STORIES, SEED = int(os.environ.get("FAIR_STORIES", "20")), int(os.environ.get("FAIR_SEED", "1"))
MOST, OF_A_KEY = 2, 1  # that run


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limit_checks, "AGAIN_S", 0)
    monkeypatch.setattr(limit_checks, "TWO_TICKS_S", 0)


class AllUnderOne(Story):
    """All jobs name one limit. So it holds all keys back alike, and turns are what they are without it."""

    def __init__(self, server: Server, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.most, self.waited = Counter[str](), 0
        super().__init__(server, seed, monkeypatch)
        self.queue.limits.put("default", "api", Limit(max_running=MOST))
        self.queue.limits.put("default", "tenant:*", Limit(max_running=OF_A_KEY))

    def names_of(self, key: str | None) -> list[str]:
        return ["api"]

    def submit(self, jobs: Sequence[NewJob]) -> None:
        super().submit([replace(job, limits=self.names_of(job.fair_key)) for job in jobs])

    def look(self, script: str, answer: Any) -> None:
        super().look(script, answer)
        running = [(job_id, job["fair_key"]) for job_id, job in self.jobs.items() if job["status"] == "processing"]
        under = Counter(name for _, key in running for name in self.names_of(key))
        assert all(n <= (MOST if name == "api" else OF_A_KEY) for name, n in under.items()), under
        self.most |= under
        self.waited += self.redis.zcard(f"{Q}shut")
        for name in under:
            assert self.redis.scard(f"{Q}permits:{name}") == under[name]


class EachItsOwn(AllUnderOne):
    """Each key has a limit of its own too. A key that could not run catches up, so its turns are not counted; its order is kept,
    and all come to an end."""

    def names_of(self, key: str | None) -> list[str]:
        return ["api", f"tenant:{key or 'none'}"]

    def next_of_each_key(self, by_id: dict[str, Able]) -> dict[str, Able]:
        return {}


def tell(server: Server, seed: int, kind: type[AllUnderOne], steps: int = 150) -> AllUnderOne:
    story = tell_of_turns(server, seed, steps, kind)
    assert isinstance(story, AllUnderOne)
    return story


def few(lua: Path) -> None:
    """A claim moves three jobs, a tick drops three entries."""
    change(lua, "exchange.lua", "MOVES = 250", "MOVES = 3")
    change(lua, "parts/limited_claims.lua", "ENOUGH_BYTES = 250,", "ENOUGH_BYTES = 3,")
    change(lua, "parts/idle.lua", "IDLE_MOST = redis.call, 250", "IDLE_MOST = redis.call, 3")


@pytest.mark.parametrize(
    ("bound", "kind"), [pytest.param(250, AllUnderOne, marks=pytest.mark.long(4)), (3, EachItsOwn)]
)
def test_limits_hold_and_turns_go_on(bound: int, kind: type[AllUnderOne], lua: Path, server: Server) -> None:
    if bound == 3:
        few(lua)
    story = tell(server, 1, kind, 100)
    assert story.most["api"] == MOST and story.waited and story.twice
    assert story.judged or kind is EachItsOwn


@pytest.mark.long(240)
@pytest.mark.parametrize("kind", [AllUnderOne, EachItsOwn])
@pytest.mark.parametrize("bound", [250, 3])
def test_many_stories(bound: int, kind: type[AllUnderOne], lua: Path, server: Server) -> None:
    if bound == 3:
        few(lua)
    for seed in range(SEED, SEED + STORIES):
        tell(server, seed, kind, 300)
