"""What is written to the record: jobs in their newest state, and what is erased. Each function inside its caller's transaction."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from _jobqueue.record.connection import Connection, Refused, marks
from _jobqueue.record.row import ATTEMPT_COLUMNS, COLUMNS, Row, attempts_of, values_of
from _jobqueue.records import DAY_MS
from _jobqueue.rfc3339 import epoch_ms, rfc3339

IDS_STEP = 500  # ids in one statement
EXPIRE_STEP = 1000  # jobs


Attempt = tuple[Any, ...]  # in the order of ATTEMPT_COLUMNS


class _There(NamedTuple):
    """The revision of a job that is there, the number of its last attempt, and when that ended."""

    rev: int
    last: int
    last_at: str | None


NOTHING = _There(-1, 0, None)


def _upsert(table: str, columns: Sequence[str], keys: Sequence[str], where: str = "") -> str:
    changed = ", ".join(f"{name} = excluded.{name}" for name in columns if name not in keys)
    return (
        f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks(len(columns))})"
        f" ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {changed}{where}"
    )


PUT_JOB = _upsert("job", COLUMNS, ["id"], " WHERE excluded.rev > job.rev")
PUT_ATTEMPT = _upsert("attempt", ATTEMPT_COLUMNS, ["job_id", "number"])
PUT_TAG = "INSERT INTO job_tag (tag, created_at, job_id) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
PUT_PROGRESS = _upsert("jobqueue_progress", ["queue", "rev"], ["queue"], " WHERE excluded.rev > jobqueue_progress.rev")


def put_all(db: Connection, rows: Sequence[Row], payloads: bool) -> list[tuple[str, str]]:
    """Write the rows that are newer than those that are there. Returns the ids of those that the database has refused, with its
    reason."""
    newest = {row.job.id: row for row in sorted(rows, key=lambda row: row.rev)}
    refused: list[tuple[str, str]] = []
    _put_halves(db, list(newest.values()), payloads, refused)
    highest: dict[str, int] = {}
    for row in rows:  # of refused ones too: they must not look like a Redis that has lost its latest changes
        highest[row.job.queue] = max(row.rev, highest.get(row.job.queue, 0))
    db.run_many(PUT_PROGRESS, list(highest.items()))
    return refused


def _put_halves(db: Connection, rows: Sequence[Row], payloads: bool, refused: list[tuple[str, str]]) -> None:
    """All at once; where something is refused, one half after the other."""
    if not rows:
        return
    db.run("SAVEPOINT some_rows")
    try:
        _put(db, rows, payloads)
    except Refused as error:
        db.run("ROLLBACK TO SAVEPOINT some_rows")
        if len(rows) == 1:
            refused.append((rows[0].job.id, str(error)[:300]))
        else:
            middle = len(rows) // 2
            _put_halves(db, rows[:middle], payloads, refused)
            _put_halves(db, rows[middle:], payloads, refused)
    db.run("RELEASE SAVEPOINT some_rows")


def _put(db: Connection, rows: Sequence[Row], payloads: bool) -> None:
    known = _known(db, [row.job.id for row in rows])
    newer = [row for row in rows if row.rev > known.get(row.job.id, NOTHING).rev]
    if not newer:
        return
    try:
        values = [values_of(row, db.json, payloads) for row in newer]
        told = [(row, attempts_of(row)) for row in newer]
    except (ArithmeticError, ValueError, TypeError) as error:  # a time that no calendar has
        raise Refused(f"it cannot be a row: {error}") from error
    db.run_many(PUT_JOB, values)
    if gone := [row.job.id for row in newer if row.deleted and row.job.id in known]:
        blank_attempts(db, gone)
    _put_attempts(db, told, known)
    new = [row for row in newer if row.job.tags and row.job.id not in known]
    if tags := [(tag, rfc3339(row.job.created_ms), row.job.id) for row in new for tag in dict.fromkeys(row.job.tags)]:
        db.run_many(PUT_TAG, tags)


def _put_attempts(db: Connection, told: Sequence[tuple[Row, list[Attempt]]], known: dict[str, _There]) -> None:
    """Earlier attempts are there, and do not change; the last one may have been told of before it had a record. Where the last
    one is another's, a failover has undone it: all are written, and those that never were are removed."""
    new, undone = list[Attempt](), list[tuple[str, int]]()
    for row, attempts in told:
        there, last = known.get(row.job.id, NOTHING), attempts[-1][1] if attempts else 0
        same = any(each[1] == there.last and each[9] == there.last_at for each in attempts)
        new += [each for each in attempts if each[1] >= there.last or not (same or row.deleted)]
        if last < there.last and not row.deleted:  # of a deleted job no errors are told
            undone.append((row.job.id, last))
    if undone:
        db.run_many("DELETE FROM attempt WHERE job_id = ? AND number > ?", undone)
    if new:
        db.run_many(PUT_ATTEMPT, new)


def _known(db: Connection, ids: Sequence[str]) -> dict[str, _There]:
    """Those of some jobs that are there."""
    found: dict[str, _There] = {}
    for at in range(0, len(ids), IDS_STEP):
        asked = ids[at : at + IDS_STEP]
        rows = db.all(
            "SELECT job.id, job.rev, attempt.number, attempt.finished_at FROM job LEFT JOIN attempt ON attempt.job_id = job.id"
            " AND attempt.number = (SELECT max(number) FROM attempt AS other WHERE other.job_id = job.id)"
            f" WHERE job.id IN ({marks(len(asked))})",
            asked,
        )
        for row in rows:
            found[str(row["id"])] = _There(row["rev"], row["number"] or 0, rfc3339(epoch_ms(row["finished_at"])))
    return found


def blank_attempts(db: Connection, ids: Sequence[str]) -> None:
    """Erase what the attempts of jobs say."""
    for at in range(0, len(ids), IDS_STEP):
        asked = ids[at : at + IDS_STEP]
        db.run(
            f"UPDATE attempt SET message = NULL, traceback = NULL WHERE job_id IN ({marks(len(asked))})",
            asked,
        )


def blank(db: Connection, job_id: str) -> bool:
    """Erase a job's content, and say that it is deleted. Returns whether there was any."""
    blanks = "payload = NULL, result = NULL, error = NULL, log = NULL, more = NULL"
    found = db.run(f"UPDATE job SET deleted = ?, {blanks} WHERE id = ? AND NOT deleted", (True, job_id))
    blank_attempts(db, [job_id])
    return bool(found)


def remove(db: Connection, ids: Sequence[str]) -> int:
    """Remove jobs with their attempts. Returns how many were there."""
    removed = 0
    for at in range(0, len(ids), IDS_STEP):
        asked = ids[at : at + IDS_STEP]
        removed += db.run(f"DELETE FROM job WHERE id IN ({marks(len(asked))})", asked)
    return removed


def expired(db: Connection, days: int) -> list[str]:
    """Some of the jobs that have ended, or were deleted before their end, more than so many days ago."""
    before = rfc3339(round(time.time() * 1000) - days * DAY_MS)
    rows = db.all(
        "SELECT id FROM job WHERE finished_at < ? ORDER BY finished_at LIMIT ?", (before, EXPIRE_STEP)
    ) or db.all(
        "SELECT id FROM job WHERE deleted AND finished_at IS NULL AND created_at < ? LIMIT ?", (before, EXPIRE_STEP)
    )
    return [str(row["id"]) for row in rows]
