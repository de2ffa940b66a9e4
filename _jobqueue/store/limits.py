"""Limits in Redis: defined, read, explained, and opened in steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from _jobqueue.errors import Invalid, LimitNotFound, OldProgram, TooManyNames
from _jobqueue.limits import MAX_LIMITS, MAX_LIVE, MAX_PATTERNS, Limit, Limited, Shut, check_name
from _jobqueue.store.registry import Registry
from _jobqueue.store.store import Store

STEP = 250  # names that one script opens, and jobs that it counts
STEPS = 100  # of one call; the reaper's ticks go on
PAGE = 100
HARM = "it obeys no limit"  # of a program of the release before


class Limits:
    """The limits of queues. A queue need not exist yet."""

    def __init__(self, store: Store, registry: Registry) -> None:
        self._store, self._registry = store, registry

    def put(self, queue: str, name: str, limit: Limit) -> bool:
        """Define or change a limit. Whether it is new. Conflict, old_worker, while a program lives that would not obey."""
        check_name(name)
        self._registry.register(queue)
        said = self._store.run("limit", queue, [name, limit.max_running, limit.starts, limit.per_s])
        if said in (b"worker", b"reaper"):
            raise OldProgram(queue, said.decode(), HARM)
        if said == b"full":
            patterns = name.endswith("*")
            most = f"{MAX_PATTERNS} patterns" if patterns else f"{MAX_LIMITS:,} limits"
            raise Invalid([("/limit", f"the queue {queue} has {most}, as many as it may have")])
        self._go_on(queue)
        return bool(said == b"new")

    def delete(self, queue: str, name: str) -> None:
        """Forget a limit. LimitNotFound when there is none."""
        check_name(name)
        if not self._store.run("unlimit", queue, [name]):
            raise LimitNotFound(queue, name)
        self._go_on(queue)

    def get(self, queue: str, name: str) -> Limited:
        """A limit that is defined, or a name that a pattern limits. LimitNotFound for any other."""
        check_name(name)
        found = _limited(self._store.run("limited", queue, ["one", name, 1])[0])
        if not found.by:
            raise LimitNotFound(queue, name)
        return found

    def page(self, queue: str, most: int = PAGE, after: str = "") -> list[Limited]:
        """What is defined, and the names of patterns that run or wait, by name, those behind ``after``."""
        found: list[Limited] = []
        while len(found) < most:
            rows = self._store.run("limited", queue, ["from", after, most - len(found)])
            if not rows:
                break
            found += [_limited(row) for row in rows]
            after = found[-1].name
        return found

    def first_of(self, queues: Sequence[str]) -> dict[str, list[Limited]]:
        """The first of each of some queues."""
        answers = self._store.run_all("limited", dict.fromkeys(queues, ("from", "", PAGE)))
        return {queue: [_limited(row) for row in rows] for queue, rows in answers.items()}

    def why(self, queue: str, job_id: str) -> Shut | None:
        """The first limit that holds a queued job back."""
        row = self._store.run("held_by", queue, [job_id])
        if not row:
            return None
        name, running, most, starts, per_s, at, counting = row
        opens_ms = None if at == b"inf" else int(at)
        return Shut(name.decode(), running, Limit(most, starts, per_s), opens_ms, bool(counting))

    def _go_on(self, queue: str) -> None:
        """Count what runs, and open what a pattern no longer holds back, as far as one call may."""
        name = ""
        for _ in range(STEPS):
            after, _, left = self._store.run("let_in", queue, [name, STEP])
            counting = left == 1
            name = name if counting else after.decode()
            if not name and not counting:
                break


def _limited(row: Sequence[Any]) -> Limited:
    name, by, most, starts, per_s, running, waiting, at = row
    opens_ms = int(at) if at not in (b"", b"inf") else None
    return Limited(name.decode(), by.decode(), Limit(most, starts, per_s), running, waiting, opens_ms, at == b"inf")


def too_many_names(queue: str, name: str) -> TooManyNames:
    """A job is refused because of this name."""
    live = f"{MAX_LIVE:,} names are alive under the patterns of the queue {queue}"
    return TooManyNames(
        [("/limits", f"{live}, as many as may be, and {name} is a further one: submit it again when some are idle")]
    )
