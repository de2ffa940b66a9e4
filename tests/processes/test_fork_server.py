"""A program that the tests fork is the program that users start."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import fork_server
from tests.harness import ROOT, Program

pytestmark = pytest.mark.skipif(not fork_server.POSSIBLE, reason="programs are forked on Linux only")

TELL = """
import gc, json, os, signal, sys, threading
told = {
    "argv": sys.argv, "orig_argv": sys.orig_argv[1:], "flags": str(sys.flags), "path": sys.path, "cwd": os.getcwd(),
    "main": [sys.modules["__main__"].__file__, sys.modules["__main__"].__name__, str(sys.modules["__main__"].__spec__)],
    "environment": {name: value for name, value in os.environ.items() if name != "PWD"},  # sh sets it
    "session": os.getsid(0) == os.getpgid(0) == os.getpid() == threading.main_thread().native_id,
    "threads": sorted(thread.name for thread in threading.enumerate()),
    "signals": {int(number): str(signal.getsignal(number)).partition(" of ")[0] for number in signal.valid_signals()},
    "mask": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
    "streams": [str(stream.encoding) + stream.errors + str(stream.write_through) for stream in (sys.stdout, sys.stderr)],
    "stdin": os.readlink("/proc/self/fd/0"),
    "descriptors": [number for number in range(100) if os.path.exists(f"/proc/self/fd/{number}")],
    "cores": sorted(os.sched_getaffinity(0)),
    "gc": [gc.isenabled(), gc.get_threshold()],
    "umask": os.umask(0o22),
}
print("told:" + json.dumps([told, sorted(sys.modules)]), flush=True)
raise SystemExit(7)
"""

Start = Callable[[bool], Program]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """A worker whose handlers tell what they find around them."""
    (tmp_path / "tell.py").write_text(TELL)
    programs: list[Program] = []

    def begin(forked: bool) -> Program:
        before, fork_server.used = fork_server.used, forked
        environment = fork_server.inherited() | {"PYTHONPATH": str(ROOT), "LOG_FORMAT": "text", "WORKER_THREADS": "3"}
        command = [str(ROOT / "worker.py"), "--handlers", "tell.py"]
        assert fork_server.fits(command, environment) == forked
        programs.append(Program(command, environment, tmp_path))
        fork_server.used = before
        assert isinstance(programs[-1].process, fork_server.Forked) == forked
        return programs[-1]

    yield begin
    for program in programs:
        program.kill()
        program.path.unlink()


def told(program: Program) -> tuple[dict[str, Any], set[str]]:
    assert program.exits() == 7, program.log
    state, modules = json.loads(program.log.partition("told:")[2].partition("\n")[0])
    return state, set(modules)


def test_it_finds_what_one_that_is_started_anew_finds(start: Start) -> None:
    (anew, imported), (forked, modules) = told(start(False)), told(start(True))
    assert forked == anew
    assert imported <= modules
    assert not {name for name in modules - imported if name.startswith(("_jobqueue", "bottle", "waitress", "sqlite3"))}


def test_a_signal_that_ends_it_is_its_exit_code(start: Start, tmp_path: Path) -> None:
    (tmp_path / "tell.py").write_text("import time; print('here', flush=True); time.sleep(60)")
    program = start(True)
    program.says("here")
    assert program.process.poll() is None
    program.process.send_signal(signal.SIGKILL)
    assert program.process.wait(30) == program.process.poll() == -signal.SIGKILL


def test_what_is_asked_of_python_itself_is_started_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fork_server, "used", True)
    worker, usual = str(ROOT / "worker.py"), fork_server.inherited() | {"PYTHONPATH": str(ROOT)}
    assert fork_server.fits([worker], usual)
    assert not fork_server.fits([worker], usual | {"PYTHONPATH": f"/elsewhere{os.pathsep}{ROOT}"})
    assert not fork_server.fits([worker], usual | {"PYTHONUTF8": "1"})
    assert not fork_server.fits([worker], usual | {"TZ": "Asia/Tokyo"})
    assert not fork_server.fits([str(ROOT / "run.py")], usual)
    assert not fork_server.fits(["/elsewhere/worker.py"], usual)
