"""What tags should count, found out from the jobs; and programs that count nothing, as those of the release before."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from _jobqueue.store.scripts import Script
from _jobqueue.tally import COUNTED, GONE_AS
from jobqueue import JobQueue
from tests.harness import Server
from tests.played import Q
from tests.queue.changed_scripts import change

Counts = dict[str, Counter[str]]


def counted(redis: Any) -> Counts:
    """What the tags say: tag -> status -> how many."""
    keys = list(redis.scan_iter(f"{Q}tally:*", 1000))
    return {key.removeprefix(f"{Q}tally:"): counts_of(redis.hgetall(key)) for key in keys}


def counts_of(tally: Mapping[str, str]) -> Counter[str]:
    """Without zeros and times."""
    return Counter({name: int(n) for name, n in tally.items() if name in COUNTED and n != "0"})


def living(counts: Counts) -> Counts:
    """Without what is gone."""
    kept = {tag: Counter({name: n for name, n in each.items() if name not in GONE_AS}) for tag, each in counts.items()}
    return {tag: each for tag, each in kept.items() if each}


def there(redis: Any) -> Counts:
    """What the jobs are."""
    found: Counts = {}
    for key in redis.scan_iter(f"{Q}job:*", 1000):
        status, tags = redis.hmget(key, "status", "tags")
        for tag in (tags or "").split():
            found.setdefault(tag, Counter())[status] += 1
    return found


def assert_counted(server: Server, **gone: int) -> None:
    """Every tag counts what is there, and so many that are not, in all tags together."""
    counts = counted(server.client)
    assert living(counts) == there(server.client)
    sums = {name: sum(each[name] for each in counts.values()) for name in GONE_AS}
    assert sums == dict.fromkeys(GONE_AS, 0) | gone


def programs_before(url: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> JobQueue:
    """What makes and moves jobs as this release does, and counts no tags."""
    lua = folder / "before"
    shutil.copytree(Script.folder, lua)
    change(
        lua,
        "parts/tags.lua",
        "local function count_tags(jobs, now)",
        "local function count_tags() if true then return end",
    )
    change(lua, "submit.lua", ", 'tallied', status)", ")")
    queue = JobQueue(url)
    with monkeypatch.context() as patch:
        patch.setattr(Script, "folder", lua)
        for path in lua.glob("*.lua"):
            queue.store._scripts[path.stem]
    return queue
