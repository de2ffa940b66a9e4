"""What is read from the record: one job, and pages of jobs that match, newest first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from _jobqueue.record.connection import Connection
from _jobqueue.record.row import ATTEMPT_COLUMNS, COLUMNS, Row, job_of

JSON_COLUMNS = ("payload", "result", "more")


def _selected(columns: Sequence[str]) -> str:
    return ", ".join(f"CAST({name} AS TEXT) AS {name}" if name in JSON_COLUMNS else name for name in columns)


ONE = f"SELECT {_selected(COLUMNS)} FROM job WHERE id = ?"
ATTEMPTS = f"SELECT {', '.join(ATTEMPT_COLUMNS)} FROM attempt WHERE job_id = ? ORDER BY number"


def one(db: Connection, job_id: str) -> Row | None:
    """The job, also a deleted one, as far as the record knows it."""
    rows = db.all(ONE, (job_id,))
    if not rows:
        return None
    attempts: list[dict[str, Any]] = db.all(ATTEMPTS, (job_id,))
    return Row(job_of(rows[0], attempts), rows[0]["rev"], bool(rows[0]["deleted"]))
