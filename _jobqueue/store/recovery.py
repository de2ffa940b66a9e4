"""Recovery: how a reaper takes back jobs that nobody holds any more."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from _jobqueue.books import Expired
from _jobqueue.pieces import Field
from _jobqueue.store.rows import pairs_of
from _jobqueue.store.store import Store, prefix_of
from _jobqueue.store.weather import weather

REAPED_PER_SCRIPT = 250


class Recovery:
    """A reaper's calls. It reads first; every write compares with what was read."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def expired(self, queue: str, limit: int) -> tuple[int, list[Expired], dict[str, bytes]]:
        """Redis's time, leases that ran out, and the last beat of each worker."""
        now, rows, beats = self._store.run("expired", queue, [limit])
        expired = [Expired(row[0].decode(), row[1], row[2]) for row in rows]
        return int(now), expired, {name.decode(): beat for name, beat in pairs_of(beats).items()}

    def transaction(self, queue: str) -> Transaction:
        """What is asked of it is done when it is executed."""
        return Transaction(self._store, queue)

    def lower(self, queue: str, worker: str, beat: bytes) -> int:
        """End the leases of a worker that has not beaten since ``beat``. Returns how many."""
        return int(self._store.run("lower", queue, [worker, beat, *self.slots(queue, worker)]))

    def slots(self, queue: str, worker: str) -> list[str]:
        """The slots of a worker."""
        with weather:
            rows = self._store.client(queue).hscan_iter(f"{prefix_of(queue)}slots", match=f"{worker}-*", count=500)
            slots = [slot.decode() for slot, _ in rows]
            return [
                slot for slot in slots if slot.rpartition("-")[0] == worker
            ]  # not those of one whose name is longer

    def lease_s(self, queue: str, worker: str) -> tuple[float | None, bool]:
        """The length of the leases of a worker, as its beat says; None when it says nothing. And whether that may change: one
        that speaks HTTP may ask for longer ones."""
        try:
            info = json.loads(self._store.ask("GET", f"{prefix_of(queue)}worker:{worker}") or b"{}")
            remote = bool(info.get("http"))
            return float(info["longest_lease_s" if remote else "lease_s"]), remote
        except (ValueError, TypeError, LookupError, AttributeError):  # of another version, or written by a hand
            return None, False

    def leave(self, queue: str, worker: str, slots: Iterable[str], beat: bytes = b"") -> bool:
        """Forget a worker whose slots hold nothing (``beat``: only if it has not beaten since)."""
        return bool(self._store.run("leave", queue, [worker, beat, *slots]))


class Transaction:
    """Scripts that run in one MULTI/EXEC. Each compares before it writes, and may be sent twice."""

    def __init__(self, store: Store, queue: str) -> None:
        self._store, self._queue = store, queue
        self._calls: list[tuple[str, list[Field]]] = []
        self.unhandled: list[str] = []  # the dead letters that tidy has made
        self.left = False  # children are still to be told of an end, or limits count what runs or drop names
        self.expired: list[str] = []  # jobs that have not started in time: now cancelled
        self.looked = 0  # ids that were looked at for it; as many as its limit: there may be more
        self.vague_tag = ""  # one that somebody has asked for, and that is not counted yet
        self.given_up = 0  # marks for the record that tidy has given up: there may be more

    def expire(self, limit: int) -> None:
        """Cancel jobs that have not started in time."""
        self._calls.append(("expire", [limit]))

    def promote(self, limit: int, lease_ms: int = 0) -> None:
        """Queue jobs that are due, and ring. Notes that a reaper lives, with ``lease_ms`` as its setting. Answers how many;
        ``limit``: maybe there are more."""
        self._calls.append(("promote", [limit, lease_ms]))

    def trim(self, status: str, older_than_ms: int, limit: int) -> None:
        """Delete ended jobs that are past their retention. Answers how many; ``limit``: maybe there are more."""
        self._calls.append(("trim", [status, older_than_ms, limit]))

    def reap(self, expired: Sequence[Expired], message: str) -> None:
        """Take back jobs whose lease ran out. Answers what became of each."""
        for start in range(0, len(expired), REAPED_PER_SCRIPT):
            chunk = expired[start : start + REAPED_PER_SCRIPT]
            self._calls.append(("reap", [*self._store.defaults, message, *(part for each in chunk for part in each)]))

    def tidy(self, limit: int, unhandled_ms: int, *, spare: bool = False) -> None:
        """Look after kits and parked jobs. Jobs of a type that nobody has handled for ``unhandled_ms`` become dead letters, unless
        they are to be spared this time."""
        self._calls.append(("tidy", [limit, unhandled_ms, int(spare)]))

    def let_in(self, limit: int) -> None:
        """Go on with what limits have left undone: count what runs under a new one, open what time has opened."""
        self._calls.append(("let_in", ["-", limit]))

    def tell(self, limit: int) -> None:
        """Tell children what has become of the jobs that they wait for, and look at up to ``limit`` edges for one that nobody
        will tell."""
        self._calls.append(("tell", [limit]))

    def execute(self) -> tuple[list[str], int, int]:
        """Send all of it. Returns what became of each expired job, and how many jobs were promoted and trimmed."""
        answers = self._store.transaction(self._queue, self._calls)
        said: dict[str, list[Any]] = {
            name: [] for name in ("expire", "promote", "trim", "reap", "tidy", "let_in", "tell")
        }
        for (name, _), answer in zip(self._calls, answers, strict=True):
            said[name].append(answer)
        self.looked = sum(looked for looked, *_ in said["expire"])
        self.expired = [job_id.decode() for _, *ids in said["expire"] for job_id in ids]
        self.unhandled = [job_id.decode() for buried, *_ in said["tidy"] for job_id in buried]
        self.given_up = sum(given_up for _, given_up, _ in said["tidy"])
        self.vague_tag = next((tag.decode() for *_, tag in said["tidy"]), "")
        self.left = any(said["tell"]) or any(left for _, _, left in said["let_in"])
        outcomes = [outcome.decode() for answer in said["reap"] for outcome in answer]
        return outcomes, sum(said["promote"]), sum(said["trim"])
