"""How many jobs match a filter, by status."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from _jobqueue.listed import Filter
from _jobqueue.records import ENDED, STATUSES
from _jobqueue.store.dead_letters import saying
from _jobqueue.store.pages import check_filter, indexes_of
from _jobqueue.store.registry import Registry
from _jobqueue.store.shares import shares
from _jobqueue.store.store import Store, prefix_of
from _jobqueue.store.tags import Tags

LOOKS_MOST = 4000  # jobs that one call looks at, over all queues and statuses
LOOKS_STEP = 2000  # that one script looks at


class Counted(NamedTuple):
    """Jobs by status, without those statuses that the filter cannot have; of some of them there may be more."""

    jobs: dict[str, int]
    at_least: list[str]


class Counts:
    """Counts from sizes where these say it, else by looking at a bounded number of jobs."""

    def __init__(self, store: Store, registry: Registry, tags: Tags) -> None:
        self._store, self._registry, self._tags = store, registry, tags

    def of(self, wanted: Filter) -> Counted:
        """The jobs that match whatever status is wanted, by status. Of times without a kind or a tag, those that have ended."""
        timed = wanted.since_ms is not None or wanted.until_ms is not None
        within = bool(wanted.tag or wanted.kind or wanted.operation)  # one index has all statuses
        check_filter(replace(wanted, status=None if within or not timed else "done"))
        wanted = replace(wanted, status=None)
        statuses = ["failed"] if wanted.kind else list(STATUSES if within or not timed else ENDED)
        if wanted.tag and not (timed or wanted.type or wanted.kind):
            tally = self._tags.tally(wanted.tag, wanted.queue)
            return Counted({name: tally.jobs[name] for name in statuses}, [] if tally.exact else statuses)
        indexes = indexes_of(wanted, statuses)
        sizes = self._sizes(wanted, indexes)
        if not wanted.type and (not within or (indexes == [f"kind:{wanted.kind}"] and wanted.error is None)):
            totals = [sum(row[at] for row in sizes.values()) for at in range(len(indexes))]
            return Counted(dict(zip(statuses, totals, strict=True)), [])
        return self._looked_at(wanted, sizes, dict(zip(indexes, [statuses] if within else zip(statuses), strict=True)))

    def _sizes(self, wanted: Filter, indexes: Sequence[str]) -> Mapping[str, Sequence[int]]:
        times = ["" if ms is None else ms for ms in (wanted.since_ms, wanted.until_ms)]
        queues = self._registry.queues_of(wanted)
        return self._store.run_all("sizes", {queue: [*times, *indexes] for queue in queues})

    def _looked_at(
        self, wanted: Filter, sizes: Mapping[str, Sequence[int]], statuses: Mapping[str, Sequence[str]]
    ) -> Counted:
        """``statuses``: index -> those that it may have."""
        there = {
            (queue, index): size
            for queue, row in sizes.items()
            for index, size in zip(statuses, row, strict=True)
            if size
        }
        found, vague = Counter[str](), set[str]()
        for (queue, index), most in shares(there, LOOKS_MOST).items():
            looked, counted = self._look(wanted, queue, index, min(most, LOOKS_STEP))
            found.update(counted)
            if looked < there[queue, index]:
                vague.update(statuses[index])
        names = [name for its in statuses.values() for name in its]
        return Counted({name: found[name] for name in names}, [name for name in names if name in vague])

    def _look(self, wanted: Filter, queue: str, index: str, most: int) -> tuple[int, Counter[str]]:
        """How many were looked at, and those that match by status."""
        since, until = ("" if ms is None else ms for ms in (wanted.since_ms, wanted.until_ms))
        if wanted.error is not None:
            ids = self._ids(queue, index, (since, until), most)
            failed = saying(self._store, wanted, {queue: [(each, b"") for each in ids]})[queue]
            return len(ids), Counter(failed=len(failed))
        looked, counted = 0, Counter[str]()
        for name in ["queue", "held"] if index == "queue" else [index]:
            args: list[str | int] = [name, most, since, until, wanted.type or "", wanted.kind or ""]
            n, *pairs = self._store.run("count", queue, args)
            looked += n
            counted.update({status.decode(): count for status, count in zip(pairs[::2], pairs[1::2], strict=True)})
        return looked, counted

    def _ids(self, queue: str, index: str, times: tuple[str | int, str | int], most: int) -> list[bytes]:
        since, until = times
        span = "+inf" if until == "" else f"({until}", "-inf" if since == "" else str(since)
        ids: list[bytes] = self._store.ask("ZREVRANGEBYSCORE", f"{prefix_of(queue)}{index}", *span, "LIMIT", 0, most)
        return ids
