"""Sweeps: an action on all jobs that match a filter, in bounded steps."""

from __future__ import annotations

from collections import Counter

from _jobqueue.errors import Invalid
from _jobqueue.listed import ACTIONS, Acted, Filter
from _jobqueue.records import ACT_MOST, STATUSES
from _jobqueue.store.cursors import END, NO_CURSOR, cursor_of, read_cursor
from _jobqueue.store.dead_letters import saying
from _jobqueue.store.operations import Operations
from _jobqueue.store.pages import HIGHEST, NEXT_FIRST, check_filter, indexes_of, page_args
from _jobqueue.store.registry import Registry
from _jobqueue.store.store import Store, prefix_of

COUNT_MOST = 10_000  # jobs that one dry run counts
SWEEP_LOOKS = 20  # scripts that look for them
REQUEUE_CALLS = 100  # of ACT_MOST each


class Sweeps:
    """Operates on jobs by filter. ``cursor`` of an answer leads on."""

    def __init__(self, store: Store, registry: Registry, operations: Operations) -> None:
        self._store, self._registry, self._operations = store, registry, operations

    def sweep(
        self,
        action: str,
        wanted: Filter,
        cursor: str | None,
        dry_run: bool = False,
        most: int = ACT_MOST,
        by: str | None = None,
        operation: str | None = None,
    ) -> Acted:
        """Do one of ACTIONS to jobs that match, oldest first: to a bounded number (``most``; COUNT_MOST in a dry run) of those
        that were there at the first call. ``cursor`` continues. Without a status, only the statuses that allow the action
        count as matching. Repeating is harmless. ``operation``: a name under which lists find what it has changed. Invalid for
        another's cursor."""
        check_filter(wanted)
        sweep, changed, skipped = (
            _Sweep(self._store, self._registry.queues_of(wanted), action, wanted, cursor),
            0,
            Counter[str](),
        )
        left = COUNT_MOST if dry_run else most
        for _ in range(SWEEP_LOOKS):
            if not left or sweep.ended:
                break
            queue, ids = sweep.look(min(left, ACT_MOST))
            left -= len(ids)
            done = self._operations.act(action, queue, ids, dry_run, skipped, by)
            if operation and not dry_run:
                self._operations.note(operation, queue, done)
            changed += len(done)
        if not wanted.status:
            skipped = Counter({reason: n for reason, n in skipped.items() if reason not in STATUSES})
        return Acted(changed + skipped.total(), changed, dict(skipped), sweep.cursor())

    def requeue_dead(self, queue: str, most: int, by: str | None = None) -> tuple[int, int]:
        """Retry the queue's dead letters, oldest first, in bounded steps. Returns how many, and how many are left."""
        done, cursor = 0, None
        for _ in range(REQUEUE_CALLS):  # many may be left that cannot run: another job has their unique key
            acted = self.sweep("retry", Filter("failed", queue=queue), cursor, most=min(ACT_MOST, most - done), by=by)
            done, cursor = done + acted.changed, acted.cursor
            if done == most or not cursor:
                break
        return done, int(self._store.ask("ZCARD", f"{prefix_of(queue)}failed"))


class _Sweep:
    """Reads the ids of matching jobs for an action: queue after queue and index after index, each from its oldest on. What has
    ended since the queue's turn began is left out: a job that is retried and fails again would be met without end. A cursor is
    the number of the index, the place in the queue whose turn it is, and when that began."""

    def __init__(self, store: Store, queues: list[str], action: str, wanted: Filter, cursor: str | None) -> None:
        self.store, self.queues, self.wanted = store, queues, wanted
        self.indexes = indexes_of(wanted, ACTIONS[action].statuses)
        since_ms = wanted.since_ms  # the last place before it
        self.start = f"{since_ms - 1} {HIGHEST}" if since_ms else "0"
        self.at, self.place, self.until = 0, self.start, 0
        if cursor:
            self.at, places, self.until, _ = read_cursor(cursor, len(self.indexes))
            if len(places) > 1 or END in places.values():
                raise Invalid(NO_CURSOR)
            for queue, self.place in places.items():
                self.queues = self.queues[self.queues.index(queue) :] if queue in self.queues else []

    @property
    def ended(self) -> bool:
        return not self.queues

    def look(self, want: int) -> tuple[str, list[str]]:
        """At most ``want`` of the next ids, of one queue. There may be more when there are none."""
        queue, index = self.queues[0], self.indexes[self.at]
        if not self.until:
            self.until = self.store.now_ms(queue)
        last = self.until if self.wanted.until_ms is None else min(self.until, self.wanted.until_ms - 1)
        place, rows, _ = self.store.run("page", queue, page_args(self.wanted, index, "next", want, self.place))
        self.place = place.decode()
        there = [row for row in rows if index in NEXT_FIRST or float(row[1]) <= last]
        ids = [row[0].decode() for row in saying(self.store, self.wanted, {queue: there})[queue]]
        if len(there) < len(rows) or not self.place:
            self._next_index()
        return queue, ids

    def cursor(self) -> str | None:
        return None if self.ended else cursor_of(self.at, {self.queues[0]: self.place}, self.until)

    def _next_index(self) -> None:
        self.at, self.place = self.at + 1, self.start
        if self.at == len(self.indexes):
            self.at, self.queues, self.until = 0, self.queues[1:], 0
