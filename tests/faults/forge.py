"""The project's programs as real processes that start in no time: one process imports them once, then forks.

A case that kills a worker at one message needs two workers; hundreds of cases would spend their time with imports.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NoReturn

from tests import guard
from tests.faults.ledger import Ledger
from tests.harness import ROOT, Program, Server, eventually

INHERITED = ("PATH", "HOME", "LANG", "TMPDIR")


class Forge:
    """Starts ``api``, ``worker`` and ``reaper``, from any thread, and ends them all."""

    def __init__(self, server: Server) -> None:
        self.server, self.programs = server, list[Forged]()
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.forge"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={name: os.environ[name] for name in INHERITED if name in os.environ} | {"PYTHONPATH": str(ROOT)},
        )

    def start(self, name: str, *flags: str, **environment: str) -> Forged:
        program = Forged(self, name, flags, {"REDIS_URL": self.server.url, "LOG_FORMAT": "text"} | environment)
        self.programs.append(program)
        return program

    def ask(self, *order: Any) -> Any:
        with self._lock:
            assert self._process.stdin and self._process.stdout
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        for program in self.programs:
            program.kill()
            program.path.unlink()
        self._process.communicate()


@contextmanager
def forging(*settings: str) -> Iterator[tuple[Server, Forge, Ledger]]:
    """A Redis of its own, programs on it, and what their handlers note."""
    with ExitStack() as stack:
        server = Server(*settings)
        stack.callback(server.close)
        ledger = Ledger()
        stack.callback(ledger.close)
        forge = Forge(server)
        stack.callback(forge.close)
        yield server, forge, ledger


class Forged(Program):
    """Like any Program, but a grandchild of the tests."""

    def __init__(self, forge: Forge, name: str, flags: tuple[str, ...], environment: dict[str, str]) -> None:
        self.name = name
        handle, path = tempfile.mkstemp(prefix=f"jobqueue-{name}-", suffix=".log")
        os.close(handle)
        self.path = Path(path)
        self.pid = forge.ask("start", name, flags, environment, path)
        guard.watch(self.pid)
        self.process: Any = _Handle(forge, self.pid)


class _Handle:
    """The part of Popen that Program uses."""

    def __init__(self, forge: Forge, pid: int) -> None:
        self.forge, self.pid, self.returncode = forge, pid, None

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = self.forge.ask("poll", self.pid)
        return self.returncode

    def wait(self, timeout: float = 10.0) -> int:
        eventually(self.poll, equals=lambda code: code is not None, within_s=timeout)
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:  # until poll has told of its end, nobody else can have its number
            os.kill(self.pid, number)


# ------------------------------------------------------------------------------------------- the process that forks


_living, _codes = set[int](), dict[int, int]()


def _start(name: str, flags: list[str], environment: dict[str, str], log: str) -> int:
    if pid := os.fork():
        os.setpgid(pid, pid)
        _living.add(pid)
        return pid
    _become(name, flags, environment, log)


def _become(name: str, flags: list[str], environment: dict[str, str], log: str) -> NoReturn:
    code: Any = 1
    try:
        output = os.open(log, os.O_WRONLY | os.O_APPEND)
        for stream in (1, 2):
            os.dup2(output, stream)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.environ |= environment
        sys.argv = [f"{name}.py", *flags]
        code = sys.modules[name].main()  # type: ignore[attr-defined]
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
    logging.shutdown()
    os._exit(code)


def _poll(pid: int) -> int | None:
    if pid in _living:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            _living.remove(pid)
            _codes[pid] = os.waitstatus_to_exitcode(status)
    return _codes.get(pid)


def main() -> None:
    import api  # noqa: F401
    import reaper  # noqa: F401
    import worker  # noqa: F401
    from tests.faults import ledger  # noqa: F401

    orders = {"start": _start, "poll": _poll}
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        for line in sys.stdin:
            order, *arguments = json.loads(line)
            print(json.dumps(orders[order](*arguments)), flush=True)
    finally:
        for pid in _living:  # nobody else would end them
            os.killpg(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
