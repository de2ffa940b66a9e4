"""The project's programs as real processes that start in no time: for each script one process imports what it imports, then
forks for every start.

    the tests ──a socket: arguments, environment, folder, stdout and stderr──> a script's fork server ──fork──> the program

A program gets what one that is started anew gets: a session, environment, folder, streams and signals of its own. It runs the
text of the script as ``__main__``. Three things differ: its parent, what `ps` shows, and that it had its imports before
its environment. So what asks Python itself for something, or stands in front of our modules, starts anew.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from tests import guard

ROOT = Path(__file__).resolve().parent.parent
# A script, and what its main imports when it is called.
SCRIPTS = {
    "api.py": "",
    "worker.py": "",
    "reaper.py": "",
    "history.py": "",
    "outbox.py": "",
    "jobqueue.py": "_jobqueue.commands.line",
}
INHERITED = ("PATH", "HOME", "LANG", "TMPDIR")
FOR_PYTHON = ("PYTHON", "LC_", "LD_", "MALLOC_", "TZ", "LANG")  # it reads them once, before it runs anything
MESSAGE_BYTES = 2**17  # the kernel takes 200 KiB
ANSWER_S = 120  # more than the imports take on a machine that does much else
POSSIBLE = sys.platform == "linux"  # elsewhere a socket has no messages

used = False  # whether starts may be forks: tests.which decides


def inherited() -> dict[str, str]:
    return {name: os.environ[name] for name in INHERITED if name in os.environ}


def fits(command: Sequence[str], environment: dict[str, str]) -> bool:
    """Whether the program is the same as when it is started anew."""
    special = {name: value for name, value in environment.items() if name.startswith(FOR_PYTHON)}
    usual = {name: value for name, value in inherited().items() if name == "LANG"} | {"PYTHONPATH": str(ROOT)}
    ours = Path(command[0]).parent == ROOT and Path(command[0]).name in SCRIPTS
    return used and ours and special == usual and len(json.dumps([*command, environment])) < MESSAGE_BYTES // 2


def start(command: Sequence[str], environment: dict[str, str], cwd: Path, output: int, errors: int) -> Forked:
    """A process in a session of its own, which does not outlive this one. ``output``, ``errors``: descriptors."""
    with _lock:
        if command[0] not in _servers:
            _servers[command[0]] = ForkServer(command[0])
    return _servers[command[0]].start(command, environment, cwd, (output, errors))


def close() -> None:
    """All that was forked has ended, or ends now."""
    with _lock:
        while _servers:
            _servers.popitem()[1].close()


_lock = threading.Lock()
_servers = dict[str, "ForkServer"]()


class ForkServer:
    """Of one script. For any thread."""

    def __init__(self, script: str) -> None:
        self.script = script
        self._lock = threading.Lock()
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._line.settimeout(ANSWER_S)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-u", "-m", "tests.fork_server", script, str(theirs.fileno())],
                cwd=ROOT,
                env=inherited() | {"PYTHONPATH": str(ROOT)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )

    def start(self, command: Sequence[str], environment: dict[str, str], cwd: Path, streams: tuple[int, int]) -> Forked:
        nohup = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        order = {"argv": list(command), "environment": environment, "cwd": str(cwd), "nohup": nohup}
        pid = self.ask(order, streams)
        guard.watch(pid)
        return Forked(self, pid)

    def ask(self, order: Any, descriptors: Sequence[int] = ()) -> Any:
        with self._lock:
            socket.send_fds(self._line, [json.dumps(order).encode()], descriptors)
            answer = self._line.recv(MESSAGE_BYTES)
        assert answer, f"the fork server of {self.script} has ended: see what it said"
        return json.loads(answer)

    def close(self) -> None:
        self._line.close()
        self._process.wait()


class Forked:
    """A program that was forked, as ``subprocess.Popen`` has it."""

    def __init__(self, server: ForkServer, pid: int) -> None:
        self._server, self.pid = server, pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = self._server.ask(self.pid)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        until = time.monotonic() + (3600 if timeout is None else timeout)
        pause = 0.0005
        while (code := self.poll()) is None:
            if time.monotonic() > until:
                raise subprocess.TimeoutExpired(self._server.script, timeout or 0)
            time.sleep(pause)
            pause = min(2 * pause, 0.02)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:  # until poll has told of its end, nobody else can have its number
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


# ------------------------------------------------------------------------------------------- the process that forks


def _serve(line: socket.socket) -> dict[str, Any] | None:
    """Until the tests are gone; in a program that was forked, returns what it was started with."""
    living, ended = set[int](), dict[int, int]()
    while True:
        message, descriptors, _, _ = socket.recv_fds(line, MESSAGE_BYTES, 2)
        if not message:
            break
        order = json.loads(message)
        if isinstance(order, int):
            line.send(json.dumps(_poll(order, living, ended)).encode())
            continue
        if not (pid := os.fork()):
            _settle(order, descriptors)
            line.send(b"%d" % os.getpid())
            line.close()
            return dict(order)
        for each in descriptors:
            os.close(each)
        living.add(pid)
        ended.pop(pid, None)
    for pid in living:  # nobody else would end them
        os.killpg(pid, signal.SIGKILL)
    return None


def _poll(pid: int, living: set[int], ended: dict[int, int]) -> int | None:
    """How it has ended, if it has. Two threads may ask at the same time."""
    if pid in living:
        done, status = os.waitpid(pid, os.WNOHANG)
        if not done:
            return None
        living.remove(pid)
        ended[pid] = os.waitstatus_to_exitcode(status)
    return ended[pid]


def _settle(order: dict[str, Any], descriptors: Sequence[int]) -> None:
    os.setsid()
    signal.signal(signal.SIGHUP, signal.SIG_IGN if order["nohup"] else signal.SIG_DFL)
    for stream, given in zip((1, 2), descriptors, strict=True):
        os.dup2(given, stream)
        os.close(given)
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["environment"])
    sys.argv = order["argv"]
    sys.orig_argv = [sys.executable, "-u", *order["argv"]]
    if sys.version_info < (3, 13):  # there Python does it
        threading.main_thread()._set_native_id()  # type: ignore[attr-defined]


def _imported(script: Path) -> CodeType:
    """The script's text, once everything that it imports is there and it itself is not."""
    module = importlib.import_module(script.stem)
    for room in getattr(module, "ROOMS", ()):
        importlib.import_module(f"_jobqueue.web.{room}")
    if later := SCRIPTS[script.name]:
        importlib.import_module(later)  # it imports the module of this name, as it does when started anew
    else:
        del sys.modules[script.stem]
    return compile(script.read_bytes(), script, "exec", dont_inherit=True)


def main(script: str, descriptor: str) -> None:
    code, line = _imported(Path(script)), socket.socket(fileno=int(descriptor))
    gc.collect()
    gc.freeze()  # or the first collection of each program would copy all pages
    if _serve(line):
        program = sys.modules["__main__"] = ModuleType("__main__")
        program.__file__ = script
        exec(code, program.__dict__)  # noqa: S102 as Python does with a script


if __name__ == "__main__":
    main(*sys.argv[1:])
