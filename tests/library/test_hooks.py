"""@on_start and @on_stop: once in each worker process."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from jobqueue import JobQueue
from tests.harness import Program, System, eventually

HANDLERS = """
import asyncio, os, sys
from pathlib import Path
from jobqueue import handler, on_start, on_stop
import beside

def note(what):
    with open("notes", "a") as notes:
        notes.write(f"{what} {os.getpid()}\\n")

@on_start
def connect():
    note("connect")

@on_start
async def session():
    await asyncio.sleep(0)
    note("session")

@on_stop
async def close_session():
    note("close_session")

@on_stop
def close():
    note("close")

@handler("it")
def it(payload, ctx):
    note("it")
    return os.getpid()
"""
BESIDE = """
from jobqueue import on_start

@on_start
def beside():
    open("notes", "a").write("beside 0\\n")
"""


@pytest.fixture
def start(system: System, tmp_path: Path) -> Callable[..., Program]:
    def start(source: str, *flags: str) -> Program:
        (tmp_path / "mine.py").write_text(source)
        (tmp_path / "beside.py").write_text(BESIDE)
        return system.start("worker.py", "--handlers", "mine", *flags, cwd=tmp_path)

    return start


def notes(folder: Path) -> list[list[str]]:
    return [line.split() for line in (folder / "notes").read_text().splitlines()]


def test_each_process_calls_them_once_before_its_first_job_and_after_its_last(
    start: Callable[..., Program], queue: JobQueue, tmp_path: Path
) -> None:
    worker = start(HANDLERS)
    pid = queue.wait(queue.submit("it").id, 30).result
    assert worker.stop() == 0
    assert notes(tmp_path) == [["beside", "0"]] + [
        [what, str(pid)] for what in ("connect", "session", "it", "close", "close_session")
    ]


def test_with_several_processes_each_has_its_own(
    start: Callable[..., Program], queue: JobQueue, tmp_path: Path
) -> None:
    worker = start(HANDLERS, "--processes", "2")
    eventually(lambda: worker.log.count("ready"), equals=2)
    assert worker.stop() == 0
    whats = [what for what, _ in notes(tmp_path)]
    assert {whats.count(what) for what in ("connect", "session", "close", "close_session")} == {2}


FAILS = """
from jobqueue import handler, on_start, on_stop

@on_start
def connect():
    {begin}

@on_stop
def last():
    open("last", "w")

@on_stop
def close():
    {end}

@handler("it")
def it(payload, ctx): ...
"""


@pytest.mark.parametrize(
    ("begin", "words"),
    [
        ("raise ConnectionError('no database')", "ConnectionError: no database"),
        ("raise SystemExit(0)", "SystemExit: 0"),
    ],
)
def test_one_that_fails_at_the_start_ends_the_worker_and_says_why(
    start: Callable[..., Program], queue: JobQueue, tmp_path: Path, begin: str, words: str
) -> None:
    job = queue.submit("it")
    worker = start(FAILS.format(begin=begin, end="pass"))
    assert worker.exits() == 1
    assert f"@on_start connect (mine.py, line 4): {words}" in worker.log and "Traceback" in worker.log
    assert queue.get(job.id).attempts == 0 and not (tmp_path / "last").exists()


def test_one_that_fails_at_the_end_keeps_no_other_from_running(start: Callable[..., Program], tmp_path: Path) -> None:
    worker = start(FAILS.format(begin="pass", end="raise RuntimeError('still busy')"))
    worker.says("ready")
    assert worker.stop() == 1
    assert "@on_stop close (mine.py, line 12): RuntimeError: still busy" in worker.log
    assert (tmp_path / "last").exists()


REFUSED = {
    "arguments": (
        "@on_start\ndef f(config): ...",
        "@on_start f (mine.py, line 2) cannot work: it is called without arg",
    ),
    "a generator": ("@on_stop\ndef f(): yield", "@on_stop f (mine.py, line 2) cannot work: it is a generator"),
    "brackets": ("@on_start()\ndef f(): ...", "on_start() missing 1 required positional argument: 'function'"),
    "a class": ("@on_start\nclass F: ...", "write it above a def, without brackets"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_called_is_refused_by_name(start: Callable[..., Program], case: str) -> None:
    text, words = REFUSED[case]
    worker = start(f"from jobqueue import on_start, on_stop\n{text}\n")
    assert worker.exits() == 2
    assert re.search(re.escape(words), worker.log)
