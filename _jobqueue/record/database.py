"""The record: jobs in SQL, written by history.py and read by the API."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NamedTuple, TypeVar

from _jobqueue.listed import Filter
from _jobqueue.record import reads, schema, writes
from _jobqueue.record.connection import Connection, Refused, TooSlow, marks
from _jobqueue.record.errors import RecordUnavailable, RecordUrlWrong
from _jobqueue.record.postgres import PostgreSQL
from _jobqueue.record.row import Row
from _jobqueue.record.sqlite import SQLite
from _jobqueue.records import JOB_ID
from _jobqueue.rfc3339 import epoch_ms

T = TypeVar("T")
ERASE_MOST = 1000


class State(NamedTuple):
    """How a job stands in the record."""

    id: str
    queue: str
    status: str
    rev: int
    deleted: bool


def open_record(url: str, *, read_only: bool = False, payloads: bool = True) -> Record:
    """The record that a URL leads to; connects with its first call. ``payloads``: whether it stores those. RecordUrlWrong for
    what is no URL of a record."""
    return Record(connector_of(url, read_only), read_only, payloads)


def connector_of(url: str, read_only: bool, *, ours: bool = True) -> Callable[[], Connection]:
    """``ours``: the database is the record's; else a program's, whose file is neither made nor set up anew."""
    if path := re.fullmatch(r"sqlite://(/.+)", url):
        name = path[1][1:]  # sqlite:///here.db, sqlite:////var/lib/there.db
        return lambda: SQLite(name, read_only, ours)
    if re.match(r"postgres(ql)?://", url):
        return lambda: PostgreSQL(url, read_only)
    raise RecordUrlWrong("the record's URL must be like sqlite:///data/history.db or postgresql://user@host/name")


class Record:
    """For one thread at a time. Every method may raise RecordUnavailable, and connects anew after that."""

    def __init__(self, connect: Callable[[], Connection], read_only: bool, payloads: bool) -> None:
        self._connect, self._read_only, self._payloads = connect, read_only, payloads
        self._connection: Connection | None = None

    def migrate(self) -> list[str]:
        """Bring the tables up to this release. Returns what was done. RecordTooNew for those of a later one."""
        return self._asked(schema.migrate, checked=False)

    def write(self, rows: Sequence[Row]) -> list[tuple[str, str]]:
        """Write jobs, in one transaction; a row that is there and newer stays. Returns the ids of those that the database has
        refused, with its reason: all others are written. Repeating is harmless."""
        with self._transaction() as db:
            return writes.put_all(db, rows, self._payloads)

    def highest(self, queue: str) -> int:
        """The highest revision that was ever written of a queue; 0 if none."""
        rows = self._asked(lambda db: db.all("SELECT rev FROM jobqueue_progress WHERE queue = ?", (queue,)))
        return int(rows[0]["rev"]) if rows else 0

    def states(self, after: str, limit: int) -> list[State]:
        """How the next jobs by id stand, behind ``after`` ('': from the first). Of any queue: a step stays as long as it is,
        whatever they are."""
        statement = "SELECT id, queue, status, rev, deleted FROM job WHERE id > ? ORDER BY id LIMIT ?"
        rows = self._asked(lambda db: db.all(statement, (after or reads.FIRST_ID, limit)))
        return [State(str(row["id"]), row["queue"], row["status"], row["rev"], bool(row["deleted"])) for row in rows]

    def statuses(self, job_ids: Sequence[str]) -> dict[str, tuple[str, int | None]]:
        """By id, of the given jobs that it holds: the status, 'deleted' where somebody has deleted the job; and when the job has
        ended, else when it is due, in ms."""
        found: dict[str, tuple[str, int | None]] = {}
        known = [job_id for job_id in job_ids if JOB_ID.fullmatch(job_id)]  # PostgreSQL refuses to be asked for others
        for at in range(0, len(known), writes.IDS_STEP):
            ids = known[at : at + writes.IDS_STEP]
            columns = "id, status, deleted, coalesce(finished_at, run_at) AS at"
            statement = f"SELECT {columns} FROM job WHERE id IN ({marks(len(ids))})"
            rows = self._asked(lambda db, statement=statement, ids=ids: db.all(statement, ids))  # type: ignore[misc]
            for row in rows:
                found[str(row["id"])] = "deleted" if row["deleted"] else row["status"], epoch_ms(row["at"])
        return found

    def get(self, job_id: str) -> Row | None:
        """The job as it was last written, also a deleted one; None for one that was never, or has expired. The oldest errors that
        Redis no longer keeps are there too."""
        return self._asked(lambda db: reads.one(db, job_id)) if JOB_ID.fullmatch(job_id) else None

    def find(
        self, wanted: Filter, *, text: str | None = None, limit: int = 50, cursor: str | None = None
    ) -> reads.Found:
        """One page of the jobs that match, newest first, as lists show them: by their end where the filter is a kind or a status
        in ENDED, else by their submit. ``text`` must stand in the payload, the result or the last error. Invalid for another's
        cursor."""
        return self._asked(lambda db: reads.find(db, wanted, text, limit, cursor))

    def erase(self, wanted: Filter, *, most: int = ERASE_MOST, cursor: str | None = None) -> tuple[int, str | None]:
        """Remove jobs that match from the record, at most so many. Returns how many, and the cursor for the next call; None at
        the end. A job that is still in the queue comes back with its next change."""
        with self._transaction() as db:
            ids = reads.find_ids(db, wanted, most, cursor)
            return writes.remove(db, [job_id for job_id, _ in ids.found]), ids.cursor

    def some(self, job_ids: Sequence[str]) -> list[Row]:
        """Those of some jobs that are there, as lists show them."""
        known = [job_id for job_id in job_ids if JOB_ID.fullmatch(job_id)]
        return self._asked(lambda db: reads.listed(db, known))

    def starting(self, prefix: str, limit: int) -> list[str]:
        """The ids that begin so."""
        return self._asked(lambda db: reads.starting(db, prefix, limit))

    def has(self, wanted: Filter) -> bool:
        """Whether there is a job that matches, as far as one page looks."""
        return bool(self._asked(lambda db: reads.find_ids(db, wanted, 1, None)).found)

    def expire(self, days: int) -> int:
        """Remove some jobs that have ended more than ``days`` days ago (0: none). Returns how many: again while there are any."""
        if not days:
            return 0
        with self._transaction() as db:
            return writes.remove(db, writes.expired(db, days))

    def erase_job(self, job_id: str) -> bool:
        """Erase what a job was about: payload, result, errors, log. Its row stays, and says that it is deleted. Returns whether it
        was there."""
        with self._transaction() as db:
            return writes.blank(db, job_id)

    def close(self) -> None:
        """Close the connection. Another call opens one again."""
        connection, self._connection = self._connection, None
        if connection:
            connection.close()

    def abort(self) -> None:
        """Called by another thread: end what runs, with an error."""
        if connection := self._connection:
            connection.abort()

    def _asked(self, ask: Callable[[Connection], T], checked: bool = True) -> T:
        """What ``ask`` says of a connection, which is closed when it raises anything."""
        try:
            return ask(self._connected(checked))
        except BaseException as error:
            with suppress(Exception):
                self.close()
            if isinstance(error, TooSlow):
                raise RecordUnavailable("the record's database takes too long") from error
            if isinstance(error, Refused):
                raise RecordUnavailable("the record's database refuses a statement", str(error)) from error
            raise

    def _connected(self, checked: bool) -> Connection:
        if self._connection is None:
            self._connection = self._connect()
            if checked and self._read_only:
                schema.check_current(self._connection)
        return self._connection

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        """A transaction that ends with its block; that is undone when the block raises."""
        db = self._asked(_begun)
        try:
            yield db
            db.run("COMMIT")
        except BaseException as error:
            failed = error  # a generator cannot be raised into by _asked
            self._asked(lambda _: _raise(failed))


def _begun(db: Connection) -> Connection:
    db.begin()
    return db


def _raise(error: BaseException) -> None:
    raise error
