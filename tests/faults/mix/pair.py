"""A Redis with a replica that takes its place when asked to. Who talks to it through a proxy is led to the new one, as by an
address that moves."""

from __future__ import annotations

import time
from collections.abc import Callable

import redis

from tests.faults.proxy import Proxy
from tests.harness import Server, eventually

QUICK = ("--repl-diskless-sync-delay", "0", "--repl-timeout", "5", "--enable-debug-command", "yes")


class Pair(Server):
    """As one server, whichever of the two it is now. ``moved`` is told the new one's port."""

    def __init__(self, *settings: str) -> None:
        super().__init__(*QUICK, *settings)
        self.moved: Callable[[int], None] = lambda port: None
        self.promotions = 0
        self.replica = Server(*QUICK, *settings, "--replicaof", "127.0.0.1", str(self.port))
        self.front = Proxy(self.port, remember=False)  # for those who look on
        self.url = self.front.url
        self.client = redis.Redis(port=self.front.port, decode_responses=True, protocol=2)  # which the proxy knows

    def promote(self) -> bool:
        """The replica takes over once it has all that was written; the one before is killed and follows. False where it is not
        ready: then nothing has changed."""
        old, new = redis.Redis(port=self.port, decode_responses=True), self.replica.client
        try:
            if new.info("replication").get("master_link_status") != "up":
                return False
            old.client_pause(10_000, all=False)
            deadline = time.monotonic() + 3
            while new.info("replication")["slave_repl_offset"] < old.info("replication")["master_repl_offset"]:
                if time.monotonic() > deadline:
                    old.client_unpause()
                    return False
            self.kill()
        except redis.RedisError:
            return False
        finally:
            old.close()
        new.execute_command("REPLICAOF", "NO", "ONE")
        self._swap()
        self.promotions += 1
        return True

    def _swap(self) -> None:
        """What was the replica is this one now, and the one before is its replica."""
        other = self.replica
        mine = self.port, self.process, self.folder
        self.port, self.process, self.folder = other.port, other.process, other.folder
        other.port, other.process, other.folder = mine
        other.client = redis.Redis(port=other.port, decode_responses=True)
        for proxy_port in (self.moved, self._front_moved):
            proxy_port(self.port)
        self.settings, other.settings = _alone(self.settings), _following(self.settings, self.port)
        other.start()
        eventually(other.answers)

    def _front_moved(self, port: int) -> None:
        self.front.upstream = port
        self.front.cut()

    def start(self, within_s: float = 30.0) -> None:
        """Answers are asked for at its own port: the front may be cut."""
        front, self.client = self.client, redis.Redis(port=self.port, decode_responses=True)
        try:
            super().start(within_s)
        finally:
            self.client = front

    def close(self) -> None:
        self.replica.close()
        self.front.close()
        super().close()


def _alone(settings: tuple[str, ...]) -> tuple[str, ...]:
    return settings[: settings.index("--replicaof")] if "--replicaof" in settings else settings


def _following(settings: tuple[str, ...], port: int) -> tuple[str, ...]:
    return (*_alone(settings), "--replicaof", "127.0.0.1", str(port))
