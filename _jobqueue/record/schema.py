"""The record's tables: numbered .sql files for each database, applied in their order, each once."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from _jobqueue.record.connection import Connection, Refused
from _jobqueue.record.errors import RecordTooNew, RecordUnavailable

_FOLDER = Path(__file__).parent / "sql"
_VERSIONS = "CREATE TABLE IF NOT EXISTS jobqueue_schema (version INTEGER NOT NULL PRIMARY KEY, name TEXT NOT NULL)"


@cache
def files(database: str) -> list[tuple[int, str, str]]:
    """Number, name and text of each file."""
    found = sorted((_FOLDER / database).glob("[0-9][0-9][0-9][0-9]_*.sql"))
    return [(int(path.name[:4]), path.stem, path.read_text()) for path in found]


def migrate(connection: Connection) -> list[str]:
    """Bring the tables up to this release, in one transaction: all of it, or nothing. Returns the names of what was applied.
    RecordTooNew for tables of a later release."""
    connection.begin()
    try:
        connection.run(_VERSIONS)
        there = check(connection)
        applied = []
        for number, name, text in files(connection.name):
            if number > there:
                for statement in statements(text):
                    connection.run(statement)
                connection.run("INSERT INTO jobqueue_schema (version, name) VALUES (?, ?)", (number, name))
                applied.append(name)
    except Refused as error:  # CREATE says so of a table that somebody else has made
        raise RecordUnavailable("the record's tables cannot be made", str(error)) from error
    connection.run("COMMIT")
    return applied


def check(connection: Connection) -> int:
    """The version of the tables. RecordTooNew for one of a later release."""
    [row] = connection.all("SELECT coalesce(max(version), 0) AS version FROM jobqueue_schema")
    version, ours = int(row["version"]), files(connection.name)[-1][0]
    if version > ours:
        raise RecordTooNew(
            f"the record's tables are of a later release: version {version}, and this one knows up to {ours}"
        )
    return version


def check_current(connection: Connection) -> None:
    """For readers, which change no table. RecordUnavailable while the tables are of an earlier release."""
    if check(connection) < files(connection.name)[-1][0]:
        raise RecordUnavailable("the record's tables are of an earlier release: start history.py of this one")


def statements(text: str) -> list[str]:
    """The statements of a file. A semicolon ends one where it ends a line."""
    bare = re.sub(r"--[^\n]*", "", text)
    return [each.strip() for each in re.split(r";\s*(?:\n|$)", bare) if each.strip()]
