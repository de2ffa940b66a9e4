"""No random story breaks a promise, and a script that is broken is caught by one.

``MODEL_EXAMPLES=5000 pytest tests/queue/test_model.py`` looks for new stories."""

from __future__ import annotations

import math
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("hypothesis")
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from _jobqueue.store.checker import Checker
from _jobqueue.store.scripts import Script
from tests.faults.proxy import Proxy
from tests.harness import Server
from tests.queue.stories import CLOCK, Stories

EXAMPLES = os.environ.get("MODEL_EXAMPLES")
SETTINGS = settings(
    max_examples=int(EXAMPLES or 100),
    stateful_step_count=40,
    deadline=None,
    derandomize=not EXAMPLES,
    database=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)


# ----------------------------------------------------------------------------------------------------------- set-up


def scripts(folder: Path) -> Path:
    """A copy of the scripts that read the time from a key."""
    copy = folder / "lua"
    shutil.copytree(Script.folder, copy)
    prelude = (copy / "parts/prelude.lua").read_text()
    assert prelude.count("call('TIME')") == 1
    clock = f"""
local function test_time()
  local ms = redis.call('GET', '{CLOCK}')
  return {{ math.floor(ms / 1000), ms % 1000 * 1000 }}
end
"""
    (copy / "parts/prelude.lua").write_text(clock + prelude.replace("call('TIME')", "test_time()"))
    return copy


@pytest.fixture
def lua(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = scripts(tmp_path)
    monkeypatch.setattr(Script, "folder", folder)
    return folder


@pytest.fixture
def machine(lua: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Stories]]:
    monkeypatch.setattr(Checker, "AGAIN_S", 0)
    monkeypatch.setattr(Checker, "LATE_MS", math.inf)
    server.client.script_flush()

    class Here(Stories):
        url, redis, proxy = server.url, server.client, Proxy(server.port)

    monkeypatch.setattr(secrets, "token_bytes", lambda n: next(Here.random_bits)[:n])
    yield Here
    Here.proxy.close()
    server.client.script_flush()


def test_no_story_breaks_a_promise(machine: type[Stories]) -> None:
    run_state_machine_as_test(machine, settings=SETTINGS)


@pytest.mark.parametrize(
    ("script", "line", "broken"),
    [
        ("exchange.lua", "if job.token ~= ARGV[at + TOKEN] then", "if not job.status then"),
        ("exchange.lua", "if seq == last then", "if false then"),
        ("exchange.lua", "if seq > 0 and seq < last then return {} end", ""),
        ("reap.lua", "if not job or job.status ~= 'processing' then", "if not job then"),
        ("parts/leases.lua", "if refuse_late then", "if false then"),
        ("retry.lua", ", kind = f[5]", ""),
    ],
    ids=["no fence", "claims twice", "obeys old copies", "reaps any status", "leaves the token", "leaves the kind"],
)
def test_broken_script_is_caught(script: str, line: str, broken: str, lua: Path, machine: type[Stories]) -> None:
    text = (lua / script).read_text()
    assert text.count(line) == 1, f"{script} has changed: find the new place of this line"
    (lua / script).write_text(text.replace(line, broken))
    until_caught = settings(SETTINGS, max_examples=500, phases=[Phase.generate], report_multiple_bugs=False)
    with pytest.raises(AssertionError):
        run_state_machine_as_test(machine, settings=until_caught)
