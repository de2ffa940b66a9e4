"""The examples of workers in other languages, and the one that the README shows, as they stand there."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobqueue import JobQueue, NewJob
from tests import guard
from tests.harness import ROOT, System, eventually

pytestmark = pytest.mark.usefixtures("in_the_end_all_is_well")


class Other:
    """A worker that is none of ours: a process, with all that it starts."""

    def __init__(self, command: list[str], api: str, log: Path, folder: Path = ROOT) -> None:
        self.log = log
        with log.open("a") as out:
            self.process = guard.start(command, stdout=out, stderr=out, cwd=folder, env=os.environ | {"API": api})

    def stop(self, number: int = signal.SIGTERM) -> int:
        os.killpg(self.process.pid, number)
        code = int(self.process.wait(30))
        guard.forget(self.process.pid)
        return code


@pytest.fixture
def others(tmp_path: Path) -> Iterator[list[Other]]:
    started: list[Other] = []
    yield started
    for each in started:
        if each.process.poll() is None:
            each.stop(signal.SIGKILL)
        print(each.log.read_text())


def shown_in_readme() -> str:
    section = (ROOT / "README.md").read_text().split("## Workers in any language")[1].split("\n## ")[0]
    block = re.search(r"```sh\n(.*?)```", section, re.DOTALL)
    assert block and len(block[1].splitlines()) <= 8
    return block[1].replace("API=http://localhost:8000 ", "")


def go_built(tmp_path: Path) -> str:
    if not shutil.which("go"):
        pytest.skip("go is not installed")
    cache = {"GOCACHE": str(tmp_path / "cache"), "GOFLAGS": "-mod=mod", "GOTOOLCHAIN": "local"}
    built = subprocess.run(
        ["go", "build", "-o", str(tmp_path / "worker"), "."],
        cwd=ROOT / "examples/go",
        env=os.environ | cache,
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr
    return str(tmp_path / "worker")


def command_of(language: str, tmp_path: Path) -> list[str]:
    if language == "go":
        return [go_built(tmp_path)]
    if not shutil.which("node"):
        pytest.skip("node is not installed")
    return ["node", str(ROOT / "examples/javascript/main.mjs")]


def test_the_worker_in_the_readme_does_its_jobs(
    system: System, queue: JobQueue, others: list[Other], tmp_path: Path
) -> None:
    system.api()
    others.append(Other(["sh", "-c", shown_in_readme()], system.api_url, tmp_path / "log"))
    for _ in range(3):
        assert system.ends(system.submit(type="shout"))["result"] == "HELLO"


@pytest.mark.parametrize("kills", [5, *(pytest.param(n, marks=pytest.mark.long(n // 4)) for n in (20, 100))])
def test_the_worker_in_the_readme_survives_kills(
    system: System, queue: JobQueue, others: list[Other], tmp_path: Path, kills: int
) -> None:
    """kill -9 between claim and finish, under load: each job is done once, and nothing is lost."""
    system.api(PROCESSING_TIMEOUT_S="1", RATE_LIMIT_MAX="0", LOG_JOBS="failures")
    system.reaper(PROCESSING_TIMEOUT_S="1")
    jobs = [NewJob("shout", n, max_attempts=100) for n in range(4 * kills)]
    ids = [stored.job.id for stored in queue.submit_many(jobs) if stored.job]
    assert len(ids) == 4 * kills
    struck = 0
    script = shown_in_readme().replace('[ "$2" ] &&', '[ "$2" ] && echo "$1" >>claimed && sleep 0.02 &&')
    claimed = tmp_path / "claimed"
    claimed.touch()
    for _ in range(kills):
        lines = claimed.read_text().count("\n")
        others.append(Other(["sh", "-c", script], system.api_url, tmp_path / "log", folder=tmp_path))
        eventually(lambda lines=lines: claimed.read_text().count("\n") > lines)
        others[-1].stop(signal.SIGKILL)
        struck += 1
    others += [Other(["sh", "-c", shown_in_readme()], system.api_url, tmp_path / "log") for _ in range(2)]
    eventually(lambda: queue.books("default").sizes["done"], equals=4 * kills, within_s=120)
    books = queue.books("default")
    assert struck == kills and books.totals["done"] == 4 * kills and books.missing == 0
    assert books.totals["reaped"] >= kills // 2


@pytest.mark.parametrize("language", ["javascript", "go"])
def test_an_example_does_its_jobs(
    system: System, queue: JobQueue, others: list[Other], tmp_path: Path, language: str
) -> None:
    system.api()
    others.append(Other(command_of(language, tmp_path), system.api_url, tmp_path / "log"))
    done = [system.submit({"width": 4 * n}, type="thumbnail") for n in range(1, 9)]
    bad = system.submit({"width": 0}, type="thumbnail")
    assert [system.ends(job_id)["result"]["height"] for job_id in done] == [3 * n for n in range(1, 9)]
    failed = system.ends(bad, "failed")
    assert failed["attempts"] == 1 and failed["error"] == "width must be a positive number"
    assert [row["http"] for row in system.get("/workers").json()["workers"]] == [True] * 4
    began = time.monotonic()
    assert others[0].stop() == 0
    assert time.monotonic() - began < 15


@pytest.mark.parametrize("language", ["javascript", "go"])
def test_an_example_outlives_the_api(
    system: System, queue: JobQueue, others: list[Other], tmp_path: Path, language: str
) -> None:
    program = system.api()
    port = system.api_url.rpartition(":")[2]
    others.append(Other(command_of(language, tmp_path), system.api_url, tmp_path / "log"))
    system.ends(system.submit({"width": 4}, type="thumbnail"))
    program.kill()
    job_id = queue.submit("thumbnail", {"width": 8}).id
    system.start("api.py", "--port", port).says("listening")
    assert system.ends(job_id)["result"]["width"] == 8


def test_the_worker_in_shell_hands_over_payload_and_result(
    system: System, queue: JobQueue, others: list[Other], tmp_path: Path
) -> None:
    system.api()
    others.append(Other(["sh", str(ROOT / "examples/shell/worker.sh")], system.api_url, tmp_path / "log"))
    payload = {"say": 'a "quoted" word', "token": 'x", "token": "y'}
    assert system.ends(system.submit(payload, type="shout"))["result"] == {
        "SAY": 'A "QUOTED" WORD',
        "TOKEN": 'X", "TOKEN": "Y',
    }
