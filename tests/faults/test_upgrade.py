"""F78: the release before beside this one, under load, in every order, and back.

The release before comes from a git worktree that the test makes; where there is no git, or no history, it is skipped."""

from __future__ import annotations

import itertools
import random
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import requests

from jobqueue import JobQueue
from tests.faults.ledger import Ledger
from tests.faults.stage import Producer
from tests.harness import ROOT, Program, System, eventually, free_port

BEFORE = "afe7118"  # the last commit of the release before: its data has format 1
KINDS = ("reaper", "worker", "api")  # the order that docs/upgrade.md names
HANDLERS = """
from ledger_handlers import *
from jobqueue import handler

@handler("strange")
def strange(payload, ctx):
    return "new"
"""

pytestmark = pytest.mark.long(40)


@pytest.fixture(scope="session")
def before(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    folder = tmp_path_factory.mktemp("before") / "release"
    git = ["git", "-C", str(ROOT), "worktree"]
    made = subprocess.run([*git, "add", "--detach", str(folder), BEFORE], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"the release before is not at hand: {made.stderr.strip()}")
    yield folder
    subprocess.run([*git, "remove", "--force", str(folder)], capture_output=True, check=False)


class Site:
    """One program of each kind, of either release, with jobs coming in all the time."""

    def __init__(self, system: System, before: Path, folder: Path) -> None:
        self.system, self.folder, self.ledger = system, folder, Ledger()
        self.roots = {"old": before, "new": ROOT}
        self.running: dict[str, Program] = {}
        shutil.copy(ROOT / "tests/faults/ledger.py", folder / "ledger_handlers.py")
        (folder / "more_handlers.py").write_text(HANDLERS)
        self.url = ""
        self.producer = Producer(lambda: self.url, random.Random(1))

    def starts(self, kind: str, release: str) -> None:
        """In the place of the one that runs, which is stopped once both have worked for a while."""
        gone = self.running.pop(kind, None)
        self.running[kind] = self.start(kind, release)
        self.works_on()
        if gone:
            assert gone.stop() == 0, gone.log
        self.works_on()

    def start(self, kind: str, release: str) -> Program:
        root = self.roots[release]
        port = free_port()
        handlers = "more_handlers" if release == "new" else "ledger_handlers"
        flags, ready = {
            "api": (["--port", str(port)], "listening"),
            "worker": (["--handlers", handlers, "--threads", "4"], "ready"),
            "reaper": (["--interval", "0.2"], "starting"),
        }[kind]
        program = self.system.start(
            str(root / f"{kind}.py"), *flags, cwd=self.folder, PYTHONPATH=str(root), **self.ledger.environment
        )
        program.says(ready)
        if kind == "api":
            self.url = f"http://127.0.0.1:{port}"
        return program

    def works_on(self, jobs: int = 40) -> None:
        """Until some more have been acknowledged."""
        enough = len(self.producer.acked) + jobs
        eventually(lambda: len(self.producer.acked) >= enough, within_s=60)

    def checks(self, release: str) -> Program:
        program = self.system.start(
            str(self.roots[release] / "jobqueue.py"), "check", PYTHONPATH=str(self.roots[release])
        )
        program.exits(60)
        return program

    def ends(self, queue: JobQueue) -> None:
        """Nothing is lost, nothing done twice, no attempt spent for nothing."""
        self.producer.stop()
        eventually(lambda: self.left(queue), equals=0, within_s=60)
        runs = self.ledger.runs()
        assert not self.producer.open and self.producer.statuses.keys() <= {503}
        for job_id in self.producer.acked.values():
            job = queue.get(job_id)
            assert job.status in ("done", "failed"), job
            assert len(runs[job_id]) == job.attempts, (job, runs[job_id])
        books = queue.books("default")
        assert books.missing == 0 and books.sizes["done"] == books.totals["done"]

    def left(self, queue: JobQueue) -> int:
        sizes = queue.books("default").sizes
        return sizes["queued"] + sizes["scheduled"] + sizes["processing"]


@pytest.fixture
def site(system: System, before: Path, tmp_path: Path) -> Iterator[Site]:
    site = Site(system, before, tmp_path)
    for kind in KINDS:
        site.running[kind] = site.start(kind, "old")
    site.producer.start()
    yield site
    site.producer.stop() if site.producer.asked else None
    site.ledger.close()


@pytest.mark.parametrize("order", list(itertools.permutations(KINDS)), ids=" ".join)
def test_upgrade_in_any_order_and_back_loses_nothing(order: Sequence[str], site: Site, queue: JobQueue) -> None:
    site.works_on()
    for kind in order:
        site.starts(kind, "new")
    strange: Any = queue.submit("nobody.handles.it")
    eventually(lambda: site.system.server.client.zcard("jq:{default}:held"), equals=1)
    assert queue.get(strange.id).attempts == 0
    for kind in reversed(order):
        site.starts(kind, "old")
    queue.cancel(strange.id)
    migrated = site.system.start("jobqueue.py", "migrate", "--to", "1")
    assert migrated.exits(60) == 0, migrated.log
    site.works_on()
    site.ends(queue)
    checked = site.checks("old")
    assert checked.process.returncode == 0, checked.log


def test_parked_jobs_are_there_for_the_release_before(site: Site, queue: JobQueue) -> None:
    """The old worker fails what it does not know, as it always did; nothing is out of sight."""
    for kind in KINDS:
        site.starts(kind, "new")
    with_handler = queue.submit("strange")
    assert eventually(lambda: queue.get(with_handler.id).status, equals="done")
    parked = queue.submit("nobody.handles.it", max_attempts=1)
    eventually(lambda: site.system.server.client.zcard("jq:{default}:held"), equals=1)
    refused = site.system.start("jobqueue.py", "migrate", "--to", "1")
    assert refused.exits(60) == 1 and "stop them" in refused.log
    for kind in reversed(KINDS):
        site.starts(kind, "old")
    moved = site.system.start("jobqueue.py", "migrate", "--to", "1")
    assert moved.exits(60) == 0, moved.log
    job = eventually(lambda: queue.get(parked.id).status, equals="failed") and queue.get(parked.id)
    assert job.errors[-1]["kind"] == "no_handler"
    site.ends(queue)
    assert not set(site.system.server.client.keys("jq:{default}:*")) & {"jq:{default}:held", "jq:{default}:lanes"}


def test_type_is_not_paused_while_a_worker_of_the_release_before_would_not_obey(site: Site, queue: JobQueue) -> None:
    site.starts("reaper", "new")
    site.starts("api", "new")
    site.system.api_url = site.url
    refused = site.system.post("/queues/default/types/noted/pause")
    assert (refused.status_code, refused.json()["code"]) == (409, "old_worker")
    site.starts("worker", "new")
    answer = site.system.post("/queues/default/types/noted/pause")
    assert answer.status_code == 200, answer.text
    assert answer.json()["paused_types"] == ["noted"]
    site.system.post("/queues/default/types/noted/resume")
    site.ends(queue)


def test_nothing_waits_for_a_job_while_a_program_of_the_release_before_would_tell_nobody(
    site: Site, queue: JobQueue
) -> None:
    site.starts("api", "new")
    site.system.api_url = site.url
    parent = site.system.submit({}, type="noted")
    for kind in ("worker", "reaper"):
        refused = site.system.post("/jobs", {"type": "noted", "payload": {}, "after": [parent]})
        assert (refused.status_code, refused.json()["code"]) == (409, "old_worker")
        site.starts(kind, "new")
    child = site.system.submit({}, type="noted", after=[parent])
    site.system.ends(child)
    site.ends(queue)


def test_nothing_is_limited_while_a_program_of_the_release_before_would_not_obey(site: Site, queue: JobQueue) -> None:
    site.starts("api", "new")
    site.system.api_url = site.url
    at = f"{site.url}/queues/default/limits/tenant:7"
    for kind in ("worker", "reaper"):
        refused = requests.put(at, json={"max_running": 1}, timeout=30)
        assert (refused.status_code, refused.json()["code"]) == (409, "old_worker")
        refused = site.system.post("/jobs", {"type": "noted", "payload": {}, "limits": ["tenant:7"]})
        assert (refused.status_code, refused.json()["code"]) == (409, "old_worker")
        site.starts(kind, "new")
    assert requests.put(at, json={"max_running": 1}, timeout=30).status_code == 201
    for _ in range(2):
        site.system.submit({}, type="noted", limits=["tenant:7"])
    site.ends(queue)
