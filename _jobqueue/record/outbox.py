"""The outbox: rows that a program inserts in its own transaction, each to become one job. The table is in sql/<database>/outbox.sql.

A row is tried under its key, so a repeat within a day is harmless. That a row is tried is committed before it is sent: a later
relay that finds the mark knows that the job may be there. On PostgreSQL a relay holds its rows locked while it sends them, and
others pass them over. On SQLite nothing is locked meanwhile, for the program writes to the same file."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from _jobqueue.record import schema
from _jobqueue.record.connection import Connection, Refused, TooSlow, marks
from _jobqueue.record.database import connector_of
from _jobqueue.record.errors import FileMissing, RecordMissing, RecordUnavailable

T = TypeVar("T")
ROWS, BYTES = 100, 4 * 2**20  # that are claimed at once; a larger row comes alone
# Redis remembers a key for a day after the job was stored. The rest is for the time between a look at the clock and the submit.
SURE_S = 86_400 - 300
ERROR_CHARS = 1000
_SQL = Path(__file__).parent / "sql"
_NOW = {"sqlite": "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')", "postgresql": "now()"}
_LONG_AGO = {
    "sqlite": f"strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-{SURE_S} seconds')",
    "postgresql": f"now() - interval '{SURE_S} seconds'",
}
_WAITS = "error IS NULL AND unsure = 0"


class Fate(Enum):
    """What has become of a row that was claimed."""

    SENT = "sent"  # the job is there
    REFUSED = "refused"  # there will be none
    LATER = "later"  # there is none yet, for certain
    UNKNOWN = "unknown"  # there may be one
    UNTOUCHED = "untouched"  # nobody has tried


class OutboxRow(NamedTuple):
    """A row to send. ``payload`` and ``options``: JSON, or None. Bytes of SQLite that are no UTF-8 become lone surrogates."""

    id: int
    key: str
    queue: str
    type: str
    payload: bytes | None
    options: bytes | None


class Claim(NamedTuple):
    """Rows that are marked as tried. ``fresh``: of which nobody had tried before. ``unsure``: keys that are so from now on."""

    token: str
    ids: list[int]
    fresh: frozenset[int]
    unsure: list[str]


class Outbox:
    """For one thread at a time. Every method may raise RecordUnavailable, and connects anew after that."""

    def __init__(self, url: str) -> None:
        """RecordUrlWrong for what is no URL of a database."""
        self._connect = connector_of(url, False, ours=False)
        self._connection: Connection | None = None

    def create(self) -> None:
        """Make the table. RecordUnavailable where it is there."""
        self._asked(_create)

    def waiting(self) -> tuple[int, int, int]:
        """How many rows wait, are refused, are unsure."""
        statement = f"""SELECT count(CASE WHEN {_WAITS} THEN 1 END) AS waiting, count(error) AS refused,
            count(CASE WHEN unsure <> 0 AND error IS NULL THEN 1 END) AS unsure FROM jobqueue_outbox"""
        [row] = self._asked(lambda db: db.all(statement))
        return row["waiting"], row["refused"], row["unsure"]

    def claim(self, without: Collection[str] = ()) -> Claim:
        """Mark the next rows as tried, in a transaction of its own, but those of some queues."""
        return self._asked(lambda db: _claim(db, list(without)))

    def take(self, claim: Claim) -> list[OutboxRow]:
        """What is still this claim's, in order; on PostgreSQL nobody else gets it before ``settle``."""
        return self._asked(lambda db: _take(db, claim))

    def settle(self, claim: Claim, fates: Sequence[tuple[OutboxRow, Fate, str]]) -> None:
        """Note what has become of the rows: those that are sent are gone, a refused one has its error."""
        self._asked(lambda db: _settle(db, claim, fates))

    def close(self) -> None:
        """Close the connection. Another call opens one again."""
        connection, self._connection = self._connection, None
        if connection:
            connection.close()

    def _asked(self, ask: Callable[[Connection], T]) -> T:
        """What ``ask`` says of a connection, which is closed when it raises anything: the transaction is undone."""
        try:
            if self._connection is None:
                self._connection = self._connect()
            return ask(self._connection)
        except BaseException as error:
            with suppress(Exception):
                self.close()
            if isinstance(error, TooSlow):
                raise RecordUnavailable("the outbox's database takes too long") from error
            if isinstance(error, FileMissing):  # the program makes it whose rows these are
                raise RecordUnavailable(
                    "there is no such file: name the database of your program", error.detail
                ) from error
            if isinstance(error, RecordMissing):
                why = "there is no table jobqueue_outbox: python outbox.py --database URL --create makes it"
                raise RecordUnavailable(why, error.detail) from error
            if isinstance(error, RecordUnavailable):
                raise RecordUnavailable("the outbox's database cannot be used", error.detail or error.public) from error
            if isinstance(error, Refused):
                raise RecordUnavailable("the outbox's database refuses a statement", str(error)) from error
            raise


def _create(db: Connection) -> None:
    _begin(db)
    for statement in schema.statements((_SQL / db.name / "outbox.sql").read_text()):
        db.run(statement)
    db.run("COMMIT")


def _begin(db: Connection) -> None:
    """Not Connection.begin: relays and the record do not wait for each other."""
    db.run("BEGIN" if db.name == "postgresql" else "BEGIN IMMEDIATE")


def _skip_locked(db: Connection) -> str:
    return "FOR UPDATE SKIP LOCKED" if db.name == "postgresql" else ""


def _claim(db: Connection, without: list[str]) -> Claim:
    others = f"AND queue NOT IN ({marks(len(without))})" if without else ""
    token, wanted = secrets.token_hex(8), f"FROM jobqueue_outbox WHERE {_WAITS} {others} ORDER BY id"
    if not db.all(f"SELECT id {wanted} LIMIT 1", without):  # without a lock: most looks find nothing
        return Claim(token, [], frozenset(), [])
    _begin(db)
    columns = f"""id, {_raw(db, "key")} AS key, tried_at IS NULL AS fresh, coalesce(tried_at < {_LONG_AGO[db.name]}, 1 = 0) AS old,
        coalesce(length({_raw(db, "payload")}), 0) AS size"""
    rows = db.all(f"SELECT {columns} {wanted} LIMIT {ROWS} {_skip_locked(db)}", without)
    old = [row for row in rows if row["old"]]
    chosen: list[dict[str, Any]] = []
    size = 0
    for row in rows:
        size += row["size"]
        if chosen and size > BYTES:
            break
        if not row["old"]:
            chosen.append(row)
    db.run_many("UPDATE jobqueue_outbox SET unsure = 1 WHERE id = ?", [(row["id"],) for row in old])
    mark = f"UPDATE jobqueue_outbox SET tried_at = coalesce(tried_at, {_NOW[db.name]}), claim = ? WHERE id = ?"
    db.run_many(mark, [(token, row["id"]) for row in chosen])
    db.run("COMMIT")
    fresh = frozenset(row["id"] for row in chosen if row["fresh"])
    return Claim(token, [row["id"] for row in chosen], fresh, [_text(row["key"]) for row in old])


def _take(db: Connection, claim: Claim) -> list[OutboxRow]:
    if db.name == "postgresql":
        _begin(db)
    columns = ", ".join(f"{_raw(db, name)} AS {name}" for name in ("key", "queue", "type", "payload", "options"))
    wanted = f"WHERE id IN ({marks(len(claim.ids))}) AND claim = ? AND {_WAITS} ORDER BY id {_skip_locked(db)}"
    rows = db.all(f"SELECT id, {columns} FROM jobqueue_outbox {wanted}", [*claim.ids, claim.token])
    return [
        OutboxRow(row["id"], _text(row["key"]), _text(row["queue"]), _text(row["type"]), row["payload"], row["options"])
        for row in rows
    ]


def _raw(db: Connection, column: str) -> str:
    """SQLite takes any bytes as text, and then cannot read them: one row would stop all."""
    return f"CAST({column} AS BLOB)" if db.name == "sqlite" else f"convert_to(CAST({column} AS text), 'UTF8')"


def _text(raw: bytes) -> str:
    return raw.decode(errors="surrogateescape")


def _settle(db: Connection, claim: Claim, fates: Sequence[tuple[OutboxRow, Fate, str]]) -> None:
    if db.name == "sqlite":
        _begin(db)
    ids: dict[Fate, list[int]] = {fate: [] for fate in Fate}
    for row, fate, _ in fates:
        ids[fate].append(row.id)
    db.run_many("DELETE FROM jobqueue_outbox WHERE id = ?", [(each,) for each in ids[Fate.SENT]])
    # A row that another relay has taken meanwhile, as one may on SQLite, keeps the mark of that one.
    own = "WHERE id = ? AND claim = ?"
    errors = [(_sayable(why), row.id, claim.token) for row, fate, why in fates if fate is Fate.REFUSED]
    db.run_many(f"UPDATE jobqueue_outbox SET error = ? {own}", errors)
    untried = ids[Fate.LATER] + [each for each in ids[Fate.UNTOUCHED] + ids[Fate.REFUSED] if each in claim.fresh]
    db.run_many(f"UPDATE jobqueue_outbox SET tried_at = NULL {own}", [(each, claim.token) for each in untried])
    db.run("COMMIT")


def _sayable(why: str) -> str:
    """It may quote what is no text."""
    return why[:ERROR_CHARS].encode(errors="backslashreplace").decode()
