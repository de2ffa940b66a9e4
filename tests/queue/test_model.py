"""No random story breaks a promise, and a script that is broken is caught by one.

``MODEL_EXAMPLES=5000 pytest tests/queue/test_model.py`` looks for new stories."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("hypothesis")
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from _jobqueue.store.checker import Checker
from tests.faults.proxy import Proxy
from tests.harness import Server
from tests.queue.changed_scripts import change
from tests.queue.stories import Stories

EXAMPLES = os.environ.get("MODEL_EXAMPLES")
SETTINGS = settings(
    max_examples=int(EXAMPLES or 25),
    stateful_step_count=40,
    deadline=None,
    derandomize=not EXAMPLES,
    database=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture
def machine(lua: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Stories]]:
    monkeypatch.setattr(Checker, "LATE_MS", math.inf)

    class Here(Stories):
        url, redis, proxy = server.url, server.client, Proxy(server.port)

    monkeypatch.setattr(os, "urandom", lambda n: next(Here.random_bits)[:n])
    yield Here
    Here.proxy.close()


@pytest.mark.parametrize(
    "times", [0.4, pytest.param(1, marks=pytest.mark.long(9)), pytest.param(8, marks=pytest.mark.long(75))]
)
def test_no_story_breaks_a_promise(times: float, machine: type[Stories]) -> None:
    run_state_machine_as_test(machine, settings=settings(SETTINGS, max_examples=round(times * SETTINGS.max_examples)))


@pytest.mark.long(3)
@pytest.mark.parametrize(
    ("script", "line", "broken"),
    [
        ("exchange.lua", "if job.token ~= ARGV[at + TOKEN] then", "if not job.status then"),
        ("exchange.lua", "if seq == last then", "if false then"),
        ("exchange.lua", "if seq > 0 and seq < last then return {} end", ""),
        ("reap.lua", "if not job or job.status ~= 'processing' then", "if not job then"),
        ("parts/leases.lua", "if refuse_late then", "if false then"),
        ("retry.lua", ", kind = f[5]", ""),
        ("parts/failures.lua", "if job.tallied then TAGGED[job.id] = true end", ""),
    ],
    ids=[
        "no fence",
        "claims twice",
        "obeys old copies",
        "reaps any status",
        "leaves the token",
        "leaves the kind",
        "counts no tags",
    ],
)
def test_broken_script_is_caught(script: str, line: str, broken: str, lua: Path, machine: type[Stories]) -> None:
    change(lua, script, line, broken)
    until_caught = settings(SETTINGS, max_examples=500, phases=[Phase.generate], report_multiple_bugs=False)
    with pytest.raises(AssertionError):
        run_state_machine_as_test(machine, settings=until_caught)
