"""What the record needs of a database: one connection to SQLite or PostgreSQL, used by one thread at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

Values = Sequence[Any]


def marks(n: int) -> str:
    """The places of n values."""
    return ", ".join("?" * n)


READ_S = 1.0  # that one statement of a reader may take
CONNECT_S = 2.0
WRITE_S = 30.0  # that one statement of a writer may take, or wait for another


class Refused(Exception):
    """The database does not take these values, and would not take them the next time."""


class TooSlow(Exception):
    """A reader's statement did not end in time."""


class Connection(Protocol):
    """Statements have ``?`` for each value. Refused for values that the database will never take, RecordUnavailable for all
    else that goes wrong. The connection is then of no use any more, unless it was Refused inside a savepoint."""

    name: str  # of the folder with its .sql files
    like: str  # the operator that looks for a text, whatever its case

    def all(self, statement: str, values: Values = ()) -> list[dict[str, Any]]:
        """Rows of a query. TooSlow for a reader's."""

    def run(self, statement: str, values: Values = ()) -> int:
        """How many rows it has changed."""

    def run_many(self, statement: str, rows: Sequence[Values]) -> None:
        """The same with each of some rows."""

    def begin(self) -> None:
        """Begin a transaction that no other writer's can overtake."""

    def lock_schema(self) -> None:
        """Let nobody else change the tables until the transaction ends."""

    def json(self, value: Any) -> str:
        """A value as JSON that the database takes."""

    def abort(self) -> None:
        """Called by another thread: end what runs, with an error."""

    def close(self) -> None: ...
