"""What the record in SQL lacks: marks that the transitions leave behind, and that whoever has written the jobs removes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from _jobqueue.records import HISTORY_LOST_MS, Job
from _jobqueue.store.rows import job_of
from _jobqueue.store.store import Store, chunks_of, prefix_of

READ_JOBS = 500  # that one script reads
READ_BYTES = 8 * 2**20
STEP = 250  # marks that one script of any other kind touches
HELD_IN = ("queue", "held", "scheduled", "blocked", "leases", "done", "failed", "cancelled")


class Unsaved(NamedTuple):
    """A job that the record lacks, as it is. ``job`` is None where nothing is left of it, or where it cannot be read: ``why``."""

    id: str
    rev: int
    job: Job | None
    deleted: bool = False
    why: str = ""


class Read(NamedTuple):
    """``rev``: the queue's revision, None where no record is kept. ``size``: all marks there are. ``before_ms``, ``at_ms``: when it
    was last read, and when now; Redis has lost changes where it forgets a reading."""

    rev: int | None
    before_ms: int
    at_ms: int
    size: int
    jobs: list[Unsaved]


class Standing(NamedTuple):
    """How Redis knows a job. ``status``: '' when it is not there. ``marked``: the record has still to learn of it. ``at_ms``: when
    it has ended, or is due."""

    status: str
    marked: bool
    at_ms: int | None


class Marks:
    """The calls of a process that keeps the record. Each is bounded and may be sent twice."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def keep(self, queue: str, hold_max: int, *, claims: bool = False) -> bool:
        """Mark all changes of a queue from now on. Returns whether none was marked before."""
        return bool(self._store.run("keep", queue, [hold_max, int(claims)]))

    def read(self, queue: str, note: str = "", *, most: int = READ_JOBS) -> Read:
        """Up to ``most`` jobs and READ_BYTES, oldest marks first. ``note``: what the process says of itself, for health."""
        rev, *times, size, rows = self._store.run("unsaved", queue, [*self._store.defaults, most, READ_BYTES, note])
        before_ms, at_ms = (int(time or 0) for time in times)
        return Read(int(rev) if rev else None, before_ms, at_ms, size, [_unsaved(queue, row) for row in rows])

    def confirm(self, queue: str, saved: Sequence[Unsaved], refused: Sequence[tuple[Unsaved, str]] = ()) -> None:
        """The record holds ``saved``, and has refused others for a reason. Whatever has changed since it was read stays marked."""
        held = [part for each in saved for part in (each.id, each.rev)]
        self._store.run("saved", queue, [len(saved), *held])
        for step in chunks_of(iter(refused), STEP):
            self._store.run("saved", queue, [0, *(part for each, why in step for part in (each.id, each.rev, why))])

    def raise_above(self, queue: str, highest: int) -> None:
        """Make the queue's revision greater than ``highest``, and all marks that are not: a failover has lost changes."""
        self.try_again(queue)
        while not self._store.run("raise", queue, [highest, STEP]):
            pass

    def try_again(self, queue: str) -> None:
        """What was refused is read again."""
        while self._store.run("again", queue, [STEP]) == STEP:
            pass

    def mark(self, queue: str, ids: Sequence[str]) -> int:
        """Mark jobs that are not marked. Returns how many."""
        return sum(self._store.run("remark", queue, step) for step in chunks_of(iter(ids), STEP))

    def standing(self, queue: str, ids: Sequence[str]) -> dict[str, Standing]:
        """How Redis knows some jobs."""
        rows = [row for step in chunks_of(iter(ids), STEP) for row in self._store.run("standing", queue, step)]
        return {job_id: _standing(*row) for job_id, row in zip(ids, rows, strict=True)}

    def is_leaving(self, queue: str, job_id: str) -> bool:
        """A job was deleted or trimmed, and the record has still to learn of it."""
        return bool(self._store.ask("EXISTS", f"{prefix_of(queue)}gone:{job_id}"))

    def give_up(self, queue: str) -> int:
        """Remove some of the oldest marks above what may be held. Returns how many."""
        return int(self._store.run("hold", queue, [STEP]))

    def stop(self, queue: str) -> bool:
        """Mark nothing any more, and forget all marks. False while a process of the record lives, which would start again."""
        while (left := self._store.run("unkeep", queue, [HISTORY_LOST_MS, STEP])) > 0:
            pass
        return bool(left == 0)

    def held(self, queue: str) -> Iterator[list[str]]:
        """The ids of all jobs that Redis holds, in steps; some perhaps twice. What comes or moves meanwhile may be missing:
        its transition marks it."""
        for index in HELD_IN:
            cursor = b"0"
            while True:
                cursor, rows = self._store.ask("ZSCAN", f"{prefix_of(queue)}{index}", cursor, "COUNT", STEP)
                yield from chunks_of(iter(_decoded(rows[::2])), STEP)
                if int(cursor) == 0:
                    break


def _decoded(ids: Iterable[bytes]) -> list[str]:
    return [job_id.decode(errors="replace") for job_id in ids]


def _standing(status: bytes, marked: int, at: bytes) -> Standing:
    return Standing(status.decode(errors="replace"), bool(marked), int(at) if at.isdigit() else None)


def _unsaved(queue: str, row: Sequence[Any]) -> Unsaved:
    job_id, rev, state = row[0].decode(errors="replace"), int(row[1]), row[2]
    if state == b"lost":
        return Unsaved(job_id, rev, None)
    try:
        job = job_of(job_id, queue, row[3], -1, row[4:])
    except Exception as error:  # a hand has written to it: whatever that raises, it must hold up no other
        return Unsaved(job_id, rev, None, why=f"its hash cannot be read: {error}")
    return Unsaved(job_id, rev, job, deleted=state == b"deleted")
