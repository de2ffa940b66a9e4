"""The record in a file of SQLite."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from _jobqueue.record.connection import READ_S, WRITE_S, Refused, TooSlow, Values
from _jobqueue.record.errors import FileMissing, RecordMissing, RecordUnavailable
from _jobqueue.record.row import to_json

LOCKED_S = 5.0
STEPS = 10_000  # of SQLite's machine between two looks at the clock: under a millisecond


class SQLite:
    """A connection. A writer makes the file and its folder, where it is ours; a reader changes nothing."""

    name, like = "sqlite", "LIKE"

    def __init__(self, path: str, read_only: bool, ours: bool = True) -> None:
        self._ours, self._read_only, self._until, self._path = ours, read_only, 0.0, path
        with self._told():
            if ours and not read_only:
                Path(path).parent.mkdir(parents=True, exist_ok=True)
            mode = "ro" if read_only else "rwc" if ours else "rw"
            self._connection = sqlite3.connect(
                f"{Path(path).resolve().as_uri()}?mode={mode}",
                uri=True,
                isolation_level=None,
                timeout=READ_S if read_only else WRITE_S,
                check_same_thread=False,  # the record is closed by another thread than it was opened by
            )
            self._connection.row_factory = sqlite3.Row
            self._prepare()

    def _prepare(self) -> None:
        if self._read_only:
            self._connection.execute("PRAGMA query_only = 1")
            self._connection.set_progress_handler(lambda: time.monotonic() > self._until, STEPS)
            self._until = time.monotonic() + READ_S
        elif self._ours:
            self._to_wal()
            # Once it is committed, nobody writes it again: it must outlive the machine.
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.execute("PRAGMA foreign_keys = 1")
            # What is erased is overwritten; it costs a hundredth of the speed.
            self._connection.execute("PRAGMA secure_delete = 1")

    def _to_wal(self) -> None:
        """SQLite waits for nobody here: programs that make the file at the same time would be told that it is locked."""
        until = time.monotonic() + LOCKED_S
        while True:
            try:
                self._connection.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > until:
                    raise
            time.sleep(0.02)

    def all(self, statement: str, values: Values = ()) -> list[dict[str, Any]]:
        with self._told():
            self._until = time.monotonic() + READ_S
            return [dict(row) for row in self._connection.execute(statement, values)]

    def run(self, statement: str, values: Values = ()) -> int:
        with self._told():
            return self._connection.execute(statement, values).rowcount

    def run_many(self, statement: str, rows: Sequence[Values]) -> None:
        with self._told():
            self._connection.executemany(statement, rows)

    def begin(self) -> None:
        self.run("BEGIN IMMEDIATE")

    def lock_schema(self) -> None:
        """The transaction has locked all."""

    def json(self, value: Any) -> str:
        return to_json(value)

    def abort(self) -> None:
        self._connection.interrupt()

    def close(self) -> None:
        self._connection.close()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.IntegrityError, sqlite3.DataError, UnicodeEncodeError, OverflowError) as error:
            raise Refused(str(error)) from error
        except sqlite3.OperationalError as error:
            if "interrupted" in str(error):
                raise TooSlow from error
            raise self._unavailable(str(error)) from error
        except (sqlite3.Error, OSError) as error:
            raise RecordUnavailable("the record's file cannot be used", f"{self._path}: {error}") from error

    def _unavailable(self, error: str) -> RecordUnavailable:
        detail = f"{self._path}: {error}"
        if "no such table" in error:
            return RecordMissing("the record has no tables yet: start history.py", detail)
        if "unable to open" in error and not Path(self._path).exists():
            return FileMissing("the record's file cannot be opened: history.py makes it", detail)
        return RecordUnavailable("the record's file cannot be used", detail)
