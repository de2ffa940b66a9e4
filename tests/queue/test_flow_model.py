"""Random stories of workflows. The oracle knows who waits for whom. After each script it says whether the fate of each job was
allowed, and whether a job waits that nobody will tell.

``FLOW_STORIES=500 pytest tests/queue/test_flow_model.py -m long`` looks for new stories; FLOW_SEED is the first of them."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from tests.harness import Server
from tests.queue.changed_scripts import change
from tests.queue.flow_stories import FEW, STEP, tell

STORIES, SEED = int(os.environ.get("FLOW_STORIES", "30")), int(os.environ.get("FLOW_SEED", "1"))


def bound(lua: Path, step: int) -> None:
    for script, constant in (
        ("parts/edges.lua", "TELL_MOST, WANTS_END, ERRORS_KEPT = 250"),
        ("tell.lua", "TOLD_MOST, WANTS_END = 250"),
    ):
        change(lua, script, constant, constant.replace("250", str(step)))


@pytest.mark.parametrize("step", [pytest.param(STEP, marks=pytest.mark.long(3)), FEW])
def test_no_job_runs_too_early_and_nobody_is_forgotten(
    step: int, lua: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound(lua, step)
    counts = sum((tell(server, seed, monkeypatch, 150) for seed in range(3)), Counter[str]())
    assert min(counts[name] for name in ("released", "cascades", "blocked", "refused", "twice", "late")) > 0, counts
    assert (counts["never told"] > 0) == (step == FEW)


@pytest.mark.long(120)
@pytest.mark.parametrize("step", [STEP, FEW])
def test_many_stories(step: int, lua: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    bound(lua, step)
    for seed in range(SEED, SEED + STORIES):
        tell(server, seed, monkeypatch)


MUTANTS = {
    "no obligation": ("parts/ends.lua", "call('ZADD', key('ends'), 0, job.id)", ""),
    "an edge stays open": ("parts/edges.lua", "call('ZADD', key('then:' .. parent), '-' .. born, child)", ""),
    "done and gone are alike": ("parts/erase.lua", "job.status == 'done' and -1 or 0", "0"),
    "kept for ever": ("trim.lua", "not has_child(id, '(0', '+inf', NOT_BLOCKED) and ", ""),
    "trimmed too early": ("trim.lua", "and is_read(id) then", "and false then"),
    "runs without its parents": ("retry.lua", "tonumber(job.needs or 0) > 0", "false"),
    "nobody goes on": ("tell.lua", "OWED = call('ZRANGE', key('ends'), 0, TOLD_MOST - 1)", "OWED = {}"),
    "a cancelled parent releases": (
        "parts/edges.lua",
        "if status ~= 'cancelled' then return true end",
        "if status ~= 'cancelled' then return true end if true then return each(id, '(0', '+inf', 'satisfied') end",
    ),
    "a claim counts nothing": ("exchange.lua", "if job.tallied then TAGGED[job.id] = true end", ""),
    "an end counts nothing": ("parts/ends.lua", "if job.tallied then TAGGED[job.id] = true end", ""),
    "a backoff counts nothing": ("parts/failures.lua", "if job.tallied then TAGGED[job.id] = true end", ""),
    "a release counts nothing": ("parts/edges.lua", "if job.tallied then tagged[job.id] = true end", ""),
    "a promotion counts nothing": ("promote.lua", "if f[3] then TAGGED[id] = true end", ""),
    "run counts nothing": ("run.lua", "if f[3] then TAGGED[id] = true end", ""),
    "a retry counts nothing": ("retry.lua", "if job.tallied then TAGGED[job.id] = true end", ""),
    "what is gone counts nothing": ("parts/erase.lua", "TAGGED[id] = { job.tags", "local _ = { job.tags"),
    "trimmed and deleted are alike": ("parts/erase.lua", "job.tallied, how, ", "job.tallied, 'deleted', "),
    "a submit counts nothing": ("submit.lua", "TAGGED[id] = { ARGV[job + TAGS], false, status }", ""),
    "counts outlive the tag": ("parts/tags.lua", "call('DEL', hash)", ""),
    "deletes and owes nothing": (
        "parts/erase.lua",
        "call('ZADD', key('ends'), job.status == 'done' and -1 or 0, id)",
        "",
    ),
}


@pytest.mark.long(2)
@pytest.mark.parametrize("name", MUTANTS)
def test_broken_script_is_caught(name: str, lua: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    bound(lua, FEW)
    script, line, broken = MUTANTS[name]
    change(lua, script, line, broken)
    with pytest.raises(AssertionError):
        for seed in range(60):
            tell(server, seed, monkeypatch)
