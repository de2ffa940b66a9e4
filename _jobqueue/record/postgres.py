"""The record in PostgreSQL."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from _jobqueue.record.connection import CONNECT_S, READ_S, WRITE_S, Refused, TooSlow, Values
from _jobqueue.record.errors import RecordMissing, RecordUnavailable, RecordUrlWrong
from _jobqueue.record.row import to_json

LOCK = 0x6A6F6271  # of PostgreSQL's advisory locks: "jobq"
WRITER, SCHEMA = 1, 2
# Classes of SQLSTATE: bad values, broken constraints, what a trigger has raised, what is too large.
REFUSALS = ("22", "23", "P0", "54")
CANCELLED, NO_TABLE = "57014", "42P01"
KEEPALIVE_S = 10
_ESCAPED_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")


class PostgreSQL:
    """A connection. A reader's transactions are read-only."""

    name, like = "postgresql", "ILIKE"

    def __init__(self, url: str, read_only: bool) -> None:
        try:
            import psycopg
        except ImportError:
            raise RecordUrlWrong("PostgreSQL needs psycopg: pip install -r requirements-history.txt") from None
        self._psycopg = psycopg
        limit_ms = round(1000 * (READ_S if read_only else WRITE_S))
        settings = f"-c statement_timeout={limit_ms} -c lock_timeout={limit_ms} -c timezone=UTC"
        if read_only:
            settings += " -c default_transaction_read_only=on"
        with self._told():
            given = psycopg.conninfo.conninfo_to_dict(url).get("options") or ""
            self._connection = psycopg.connect(
                url,
                autocommit=True,
                row_factory=psycopg.rows.dict_row,
                connect_timeout=round(CONNECT_S),
                tcp_user_timeout=3 * limit_ms,
                # A server that has vanished while it was to answer: else a writer would wait for two hours.
                keepalives_idle=KEEPALIVE_S,
                keepalives_interval=KEEPALIVE_S,
                keepalives_count=3,
                application_name="jobqueue",
                options=f"{given} {settings}",
            )

    def all(self, statement: str, values: Values = ()) -> list[dict[str, Any]]:
        with self._told():
            return list(self._connection.execute(_placed(statement), _cleaned(values)))

    def run(self, statement: str, values: Values = ()) -> int:
        with self._told():
            return self._connection.execute(_placed(statement), _cleaned(values)).rowcount

    def run_many(self, statement: str, rows: Sequence[Values]) -> None:
        with self._told():
            self._connection.cursor().executemany(_placed(statement), [_cleaned(row) for row in rows])

    def begin(self) -> None:
        self.run("BEGIN")
        self.run("SELECT pg_advisory_xact_lock(?, ?)", (LOCK, WRITER))

    def lock_schema(self) -> None:
        self.run("SELECT pg_advisory_xact_lock(?, ?)", (LOCK, SCHEMA))

    def json(self, value: Any) -> str:
        text = to_json(value)
        return _ESCAPED_NUL.sub(r"\1\\ufffd", text) if "\\u0000" in text else text

    def abort(self) -> None:
        """Ends the connection: a server that is frozen would answer no request to cancel."""
        with suppress(OSError, self._psycopg.Error):
            end = socket.socket(fileno=os.dup(self._connection.fileno()))
            with end:
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._connection.close()

    @contextmanager
    def _told(self) -> Iterator[None]:
        psycopg = self._psycopg
        try:
            yield
        except psycopg.Error as error:
            state = error.sqlstate or ""
            if state == CANCELLED:
                raise TooSlow from error
            if state[:2] in REFUSALS or isinstance(error, psycopg.DataError):
                raise Refused(str(error).strip().partition("\n")[0]) from error
            kind = RecordMissing if state == NO_TABLE else RecordUnavailable
            raise kind(_said(state), str(error).strip()) from error
        except (UnicodeEncodeError, OverflowError) as error:
            raise Refused(str(error)) from error


def _said(state: str) -> str:
    if state == NO_TABLE:
        return "the record has no tables yet: start history.py"
    if state == "42501":
        return "the record's database does not allow it"
    return "the record's database does not answer as it should" if state else "the record's database does not answer"


def _placed(statement: str) -> str:
    return statement.replace("%", "%%").replace("?", "%s")


def _cleaned(values: Values) -> list[Any]:
    """Texts of PostgreSQL cannot hold U+0000: it becomes U+FFFD."""
    return [value.replace("\0", "\ufffd") if isinstance(value, str) else value for value in values]
