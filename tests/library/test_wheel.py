"""The wheel, in an environment that holds nothing else but redis: it is built, and all that a newcomer does is done there.

Nothing is downloaded: the build uses the tools that are installed here, and redis is taken over from here."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobqueue import JobQueue, __version__
from tests import guard
from tests.harness import ROOT, Server, eventually

pytestmark = pytest.mark.long(15)
BUILT_FROM = ("jobqueue.py", "_jobqueue", "pyproject.toml", "setup.py", "LICENSE")


class Environment:
    """A virtual environment with the wheel."""

    def __init__(self, folder: Path, wheel: Path) -> None:
        self.folder, self.python = folder, folder / "bin/python"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        pip("--python", str(self.python), "install", "--no-index", "--no-deps", str(wheel))
        site = Path(self.run("-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
        for name in ("redis", f"redis-{importlib.metadata.version('redis')}.dist-info", "async_timeout"):
            source = Path(sysconfig.get_path("purelib"), name)
            if source.exists():
                shutil.copytree(source, site / name)
        self.installed = sorted(path.name for path in site.iterdir())

    def run(self, *command: str, cwd: Path | None = None, **environment: str) -> str:
        done = subprocess.run(
            [self.python, *command],
            cwd=cwd,
            env=self.environment(**environment),
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def environment(self, **more: str) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "HOME": str(self.folder), **more}


def pip(*arguments: str) -> str:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("setuptools", minversion="77", reason="setuptools is in requirements-dev.txt")
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("built")
    for name in BUILT_FROM:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, source)
    pip("wheel", "--no-build-isolation", "--no-deps", "--no-index", "-w", str(built), str(source))
    [wheel] = built.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return Environment(tmp_path_factory.mktemp("environment"), wheel)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Somebody's project, with modules that are called as ours are."""
    for name, text in PROJECT.items():
        (tmp_path / name).write_text(text)
    return tmp_path


PROJECT = {
    "config.py": "GREETING = 'hello'\n",
    "utils.py": "def shout(text):\n    return text.upper() + '!'\n",
    "store.py": "SEEN = []\n",
    "handlers.py": """
import config, store, utils
from jobqueue import Context, Fail, Retry, handler, on_start


@on_start
def open_store():
    store.SEEN.append("open")


@handler("greet", max_attempts=3, queue="cpu")
def greet(payload: dict[str, str], ctx: Context) -> str:
    assert store.SEEN == ["open"]
    if not payload["name"]:
        raise Fail("nobody to greet")
    if ctx.attempt == 1:
        raise Retry("not awake yet", after=0)
    return utils.shout(f"{config.GREETING}, {payload['name']}")


@handler("greet.soon")
async def greet_soon(payload: str, ctx: Context) -> str:
    return utils.shout(payload)
""",
    "test_handlers.py": """
import unittest

import handlers
from jobqueue import inline


class Greets(unittest.TestCase):
    def setUp(self):
        self.jobs = self.enterContext(inline(handlers)) if hasattr(self, "enterContext") else inline(handlers)

    def test_it_greets_at_its_second_attempt(self):
        job = handlers.greet.submit({"name": "ada"}, via=self.jobs)
        self.assertEqual((job.status, job.result, job.attempts, job.queue), ("done", "HELLO, ADA!", 2, "cpu"))

    def test_nobody_is_not_greeted(self):
        job = self.jobs.submit("greet", {"name": ""})
        self.assertEqual((job.status, job.errors[-1]["message"]), ("failed", "nobody to greet"))

    def test_async(self):
        self.assertEqual(self.jobs.submit("greet.soon", "hi").result, "HI!")

    def tearDown(self):
        handlers.store.SEEN.clear()


unittest.main()
""",
    "submit.py": """
import handlers
from jobqueue import JobQueue, NewJob

print(handlers.greet.submit({"name": "ada"}, key="ada", tags=["a"]).id)
print(JobQueue().submit("greet.soon", "hi").id if False else handlers.greet_soon.submit("hi").id)
""",
}


def test_the_wheel_holds_the_library_and_needs_redis_alone(environment: Environment) -> None:
    ours = {"_jobqueue", "jobqueue", f"jobqueue-{__version__}.dist-info"}
    assert {name for name in environment.installed if "redis" not in name and name != "async_timeout"} == ours
    metadata = importlib.metadata.Distribution.at(
        next(environment.folder.glob(f"lib/python*/site-packages/jobqueue-{__version__}.dist-info"))
    )
    needed = metadata.requires or []
    assert [each for each in needed if "extra ==" not in each] == ["redis<9,>=6"]
    assert sorted(metadata.metadata.get_all("Provides-Extra") or ()) == ["history", "otel"]
    files = {str(file) for file in metadata.files or ()}
    lua = {str(path.relative_to(ROOT)) for path in (ROOT / "_jobqueue/lua").rglob("*.lua")}
    assert lua <= files and {"jobqueue/py.typed", "_jobqueue/py.typed"} <= files
    python = {str(path.relative_to(ROOT)) for path in (ROOT / "_jobqueue").rglob("*.py")}
    web = {name for name in python if name.startswith("_jobqueue/web/")}
    assert web and python - web <= files and not web & files


def test_an_installed_redis_is_in_the_range_that_the_wheel_names(environment: Environment) -> None:
    said = pip("--python", str(environment.python), "check")
    assert "No broken requirements found" in said


def test_a_handler_is_tested_without_redis(environment: Environment, project: Path) -> None:
    environment.run("test_handlers.py", cwd=project, REDIS_URL="redis://127.0.0.1:1")


@pytest.fixture
def worker(server: Server, environment: Environment, project: Path) -> Iterator[Any]:
    """worker.py of the clone, run by the environment's Python in the project's folder."""
    log = open(project / "log", "w")  # noqa: SIM115
    command = [str(environment.python), "-u", str(ROOT / "worker.py"), "--queues", "cpu,default"]
    process = guard.start(
        command, cwd=project, env=environment.environment(REDIS_URL=server.url), stdout=log, stderr=log
    )
    yield process
    process.kill()
    process.wait()
    guard.forget(process.pid)
    log.close()
    print((project / "log").read_text())


def test_a_clones_worker_runs_the_projects_handlers_with_the_environments_python(
    server: Server, queue: JobQueue, environment: Environment, project: Path, worker: Any
) -> None:
    ids = environment.run("submit.py", cwd=project, REDIS_URL=server.url).split()
    again = environment.run("submit.py", cwd=project, REDIS_URL=server.url).split()
    assert again[0] == ids[0] and again[1] != ids[1]
    eventually(lambda: queue.get(ids[1]).status, equals="done")
    greeted = queue.get(ids[0])
    if greeted.status == "scheduled":  # there is no reaper
        queue.run_now(ids[0])
    greeted = queue.wait(ids[0], 30)
    assert (greeted.result, greeted.attempts, greeted.queue, greeted.tags) == ("HELLO, ADA!", 2, "cpu", ["a"])
    assert queue.get(ids[1]).result == "HI!"
    worker.terminate()
    assert worker.wait(30) == 0


def test_it_looks_after_the_queues_from_there(server: Server, environment: Environment, project: Path) -> None:
    for command in (["-m", "jobqueue"], [str(environment.folder / "bin/jobqueue")]):
        said = environment.run(*command, "check", cwd=project, REDIS_URL=server.url)
        assert said.startswith("ok: 0 jobs in 0 queues")
