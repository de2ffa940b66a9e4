"""What a submit waits for before it is answered: nothing (fast), an fsync, or replicas (replicated)."""

from __future__ import annotations

import math
import re
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import redis

from _jobqueue.store.link import Args, Command
from _jobqueue.store.store import Store, prefix_of
from _jobqueue.store.weather import weather

CONFIRM_MS = 1500  # above the second that appendfsync everysec takes
DURABILITY_KEPT_S = 3.0  # how long what Redis said of its settings is believed
REPLICAS_KEPT_S = 10.0  # how long a replica that has left is still waited for; above the length of a failover


class Durability:
    """Runs a script and sees to it that what it wrote is as durable as ``wanted``."""

    def __init__(self, wanted: str, store: Store) -> None:
        self.wanted, self._store = wanted, store
        self._kept: dict[str, tuple[float, Command, str]] = {}
        self._replicas: dict[str, list[tuple[float, int]]] = defaultdict(list)  # when there were how many

    def run(self, name: str, queue: str, args: Args, meanwhile: Callable[[], None] | None = None) -> tuple[Any, str]:
        """The script's answer, and why it is not as durable as wanted; '' when it is."""
        if self.wanted == "fast":
            return self._store.run(name, queue, args, meanwhile), ""
        return self.run_at(prefix_of(queue), f"{prefix_of(queue)}meta", name, args)

    def run_at(self, key: str, touch: str, name: str, args: Args) -> tuple[Any, str]:
        """The same for any key. ``touch``: a hash in its slot, to be written to."""
        with weather:
            command, why_not = self.means(self._store.servers.owner(key))
        if not command:
            return self._store.run_at(key, name, args), why_not
        answer, counts = self._store.run_and_confirm(key, name, args, touch, command, CONFIRM_MS / 1000)
        return answer, self._missing(command, counts)

    def means(self, place: str) -> tuple[Command, str]:
        """The command whose answer confirms (none: a write's own answer does), or why nothing can."""
        if self.wanted == "fast":
            return (), ""
        seen_at, command, why_not = self._kept.get(place, (-math.inf, (), ""))
        if time.monotonic() - seen_at > DURABILITY_KEPT_S:
            command, why_not = self._look(place, self._store.servers.client(place))
            self._kept[place] = time.monotonic(), command, why_not
        return command, why_not

    def _look(self, place: str, client: Any) -> tuple[Command, str]:
        try:
            version = str(client.info("server")["redis_version"])
            settings = client.config_get("*append*")
            replicas = self._to_wait_for(place, client.info("replication"))
        except redis.ResponseError:
            return ((), _NO_RIGHT) if self.wanted == "fsync" else (("WAIT", 1, CONFIRM_MS), "")
        new = tuple(int(part) for part in version.split(".")[:2]) >= (7, 2)
        logged = settings.get("appendonly") == "yes"
        if self.wanted == "replicated":
            if not replicas:
                return (), "no replica follows this primary"
            return (("WAITAOF", 1, replicas, CONFIRM_MS) if new and logged else ("WAIT", replicas, CONFIRM_MS)), ""
        if not logged:
            return (), "Redis keeps no append-only file; set appendonly yes"
        if new:
            return ("WAITAOF", 1, 0, CONFIRM_MS), ""
        if settings.get("appendfsync") != "always" or settings.get("no-appendfsync-on-rewrite") != "no":
            return (
                (),
                f"Redis {version} can only confirm an fsync under appendfsync always (from 7.2 on, under everysec too)",
            )
        return (), ""

    def _to_wait_for(self, place: str, info: dict[str, Any]) -> int:
        """All replicas that follow, or did a moment ago: any of them may become the primary. Just while one is being made the
        primary, the others go on to confirm to the old one what will be lost."""
        now, states = time.monotonic(), [value for name, value in info.items() if re.fullmatch(r"slave\d+", name)]
        online = sum(state["state"] == "online" for state in states)
        seen = [each for each in self._replicas[place] if now - each[0] < REPLICAS_KEPT_S]
        self._replicas[place] = [*seen, (now, online)]
        return max(count for _, count in self._replicas[place])

    def _missing(self, command: Command, counts: Any) -> str:
        """Why the answer to ``command`` confirms nothing; '' when it does."""
        if isinstance(counts, str):
            return counts
        counts = counts if isinstance(counts, list) else [counts]
        asked = [int(n) for n in command[1:-1]]
        if all(count >= n for count, n in zip(counts, asked, strict=True)):
            return ""
        after = f"after {CONFIRM_MS / 1000:g} s"
        if self.wanted == "fsync":
            return f"it is not on disk {after}"
        return f"{counts[-1]} of {asked[-1]} replicas have it {after}"


_NO_RIGHT = "this user of Redis may not ask for its version and settings (INFO, CONFIG GET)"
