"""What is read from the record: one job, and pages of jobs that match, newest first.

A page looks at the jobs in the order of an index, in steps that end by themselves, whatever the filter: it may find fewer than
asked for while there are more, and says how far it looked."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from _jobqueue.errors import Invalid
from _jobqueue.listed import Filter
from _jobqueue.record.connection import Connection, TooSlow, marks
from _jobqueue.record.row import ATTEMPT_COLUMNS, COLUMNS, Row, job_of, to_json
from _jobqueue.records import ENDED, JOB_ID, PAGE_BYTES, SHOWN_BYTES
from _jobqueue.rfc3339 import epoch_ms, rfc3339

LOOK_S = 0.7  # for one page, beside its last step
FIRST_LOOK, MOST_LOOK = 500, 20_000  # jobs in one step
FIRST_ID = "00000000-0000-0000-0000-000000000000"
LAST_MS = 253_402_300_799_999  # the end of the year 9999; an offset may lead beyond it
SHORT_LOOKS = 50, 2  # after a step that took too long: payloads may have 16 MB
SHORT_PAGES = 10, 1  # the same for jobs as lists show them
SHOWN_ERRORS, SHOWN_CHARS = 3, 2000  # in lists: the latest errors, and the beginning of each
ROOM_BYTES = PAGE_BYTES - 2**12
JSON_COLUMNS = ("payload", "result", "more")
_CURSOR = re.compile(rf"h(\d{{1,15}})-({JOB_ID.pattern})")


class Found(NamedTuple):
    """Some of the jobs that match, newest first. ``cursor`` leads on; None at the end. ``looked_to_ms``: all that match and are
    younger are there, or on the pages before."""

    rows: list[Row]
    cursor: str | None
    looked_to_ms: int | None


class Ids(NamedTuple):
    """The same as ids, each with its time."""

    found: list[tuple[str, int]]
    cursor: str | None
    looked_to_ms: int | None


def _selected(columns: Sequence[str], **other: str) -> str:
    as_text = {name: f"CAST({name} AS TEXT) AS {name}" for name in JSON_COLUMNS}
    return ", ".join({**as_text, **other}.get(name, name) for name in columns)


def _cut(name: str, at: str) -> str:
    return f"substr({at}, 1, {SHOWN_BYTES + 1}) AS {name}"


ONE = f"SELECT {_selected(COLUMNS)} FROM job WHERE id = ?"
ATTEMPTS = f"SELECT {', '.join(ATTEMPT_COLUMNS)} FROM attempt WHERE job_id = ? ORDER BY number"
_LOG = "substr(log, CASE WHEN length(log) > 4000 THEN length(log) - 3999 ELSE 1 END) AS log"
_LISTED = _selected(
    COLUMNS,
    payload=_cut("payload", "CAST(payload AS TEXT)"),
    result=_cut("result", "CAST(result AS TEXT)"),
    error="NULL AS error",
    log=_LOG,
)
_LAST_ERRORS = _selected(
    ATTEMPT_COLUMNS,
    message=f"substr(message, 1, {SHOWN_CHARS}) AS message",
    traceback=f"substr(traceback, 1, {SHOWN_CHARS}) AS traceback",
)
_LATEST = "number > (SELECT max(number) FROM attempt AS other WHERE other.job_id = attempt.job_id) - ?"


def one(db: Connection, job_id: str) -> Row | None:
    """The job, also a deleted one, as far as the record knows it."""
    rows = db.all(ONE, (job_id,))
    if not rows:
        return None
    attempts: list[dict[str, Any]] = db.all(ATTEMPTS, (job_id,))
    return Row(job_of(rows[0], attempts, **_unknown(rows[0])), rows[0]["rev"], bool(rows[0]["deleted"]))


def _unknown(row: dict[str, Any]) -> dict[str, Any]:
    """Says that a payload is not null but not there."""
    return {"truncated": ("payload",)} if row["payload"] is None else {}


# --------------------------------------------------------------------------------------------------------------- pages


def find(db: Connection, wanted: Filter, text: str | None, limit: int, cursor: str | None) -> Found:
    """One page of the jobs that match. ``text`` must stand in the payload, the result or the last error. Invalid for another's
    cursor."""
    ids = _Look(db, wanted, text, cursor).take(limit)
    read, rows = _read_in_time(db, [job_id for job_id, _ in ids.found])
    fitting = _fitting(rows)
    if fitting < len(rows):
        read = [job_id for job_id, _ in ids.found].index(rows[fitting - 1].job.id) + 1
    if read < len(ids.found):
        last_id, at = ids.found[read - 1]
        return Found(rows[:fitting], _cursor_at(at, last_id), at)
    return Found(rows, ids.cursor, ids.looked_to_ms)


def _read_in_time(db: Connection, ids: Sequence[str]) -> tuple[int, list[Row]]:
    """As many of the first jobs as can be read in time: how many of the ids, and the jobs."""
    for most in (len(ids), *SHORT_PAGES):
        try:
            return min(most, len(ids)), listed(db, ids[:most])
        except TooSlow as error:
            slow = error
    raise slow


def find_ids(db: Connection, wanted: Filter, limit: int, cursor: str | None) -> Ids:
    """The ids of a page."""
    return _Look(db, wanted, None, cursor).take(limit)


def starting(db: Connection, prefix: str, limit: int) -> list[str]:
    """The ids that begin so."""
    low, high = (prefix + FIRST_ID[len(prefix) :], prefix + FIRST_ID.replace("0", "f")[len(prefix) :])
    rows = db.all(
        "SELECT id FROM job WHERE id >= ? AND id <= ? AND NOT deleted ORDER BY id LIMIT ?", (low, high, limit)
    )
    return [str(row["id"]) for row in rows]


def _fitting(rows: Sequence[Row]) -> int:
    """How many of the first rows a page has room for; one at least."""
    size = 0
    for n, row in enumerate(rows):
        size += len(to_json(row.job.as_dict()).encode(errors="replace"))
        if size > ROOM_BYTES and n:
            return n
    return len(rows)


@dataclass(frozen=True)
class _Part:
    """A part of a condition, and its values."""

    sql: str
    values: tuple[Any, ...] = ()


class _Look:
    """Goes through the jobs in the order of one index. Which one, decides the filter: that of a tag, a kind, failed or cancelled
    jobs, a type or a queue; else all by their time. What else it asks for is looked at job by job."""

    def __init__(self, db: Connection, wanted: Filter, text: str | None, cursor: str | None) -> None:
        self._db = db
        ended = not wanted.tag and (wanted.kind is not None or wanted.status in ENDED)
        self._source, self._at, self._id = "job", "finished_at" if ended else "created_at", "id"
        self._rest = _conditions(wanted)
        if wanted.tag is not None:
            self._source = "job_tag JOIN job ON job.id = job_tag.job_id"
            self._at, self._id = "job_tag.created_at", "job_tag.job_id"
            self._index = _Part("job_tag.tag = ?", (wanted.tag,))
        else:
            self._index = self._indexed(ended)
        if text is not None:
            self._rest["text"] = self._text(text)
        self._span = _span(self._at, wanted)
        self._place = _read(cursor) if cursor else None
        self._ended = False

    def _indexed(self, ended: bool) -> _Part:
        if "kind" in self._rest:
            return self._rest.pop("kind")
        if ended and self._rest["status"].values[0] != "done":
            status = self._rest.pop("status").values[0]  # as text: that of the index
            return _Part(f"status = '{status}' AND finished_at IS NOT NULL")
        for name in ("type", "queue"):
            if not ended and name in self._rest:
                return self._rest.pop(name)
        return _Part(f"{self._at} IS NOT NULL")

    def _text(self, text: str) -> _Part:
        columns = {
            "CAST(payload AS TEXT)": to_json(text)[1:-1],
            "CAST(result AS TEXT)": to_json(text)[1:-1],
            "error": text,
        }
        like = f"{self._db.like} ? ESCAPE '!'"
        sql = " OR ".join(f"coalesce({column} {like}, FALSE)" for column in columns)
        return _Part(f"({sql})", tuple(_containing(each) for each in columns.values()))

    def take(self, limit: int) -> Ids:
        """The next ids."""
        until, found = time.monotonic() + LOOK_S, list[tuple[str, int]]()
        size = min(FIRST_LOOK, limit + 1) if not self._rest else FIRST_LOOK
        while True:
            rows, self._ended = self._step(size)
            for row in rows:
                if len(found) == limit:
                    self._ended = False
                    break
                at = epoch_ms(row["at"]) or 0
                self._place = at, str(row["id"])
                if row["hit"]:
                    found.append((str(row["id"]), at))
            if self._ended or len(found) == limit or time.monotonic() >= until:
                break
            size = min(2 * size, MOST_LOOK)
        if self._ended or not self._place:
            return Ids(found, None, None)
        return Ids(found, _cursor_at(*self._place), self._place[0])

    def _step(self, size: int) -> tuple[list[dict[str, Any]], bool]:
        """The next jobs, fewer than asked for where they take too long, and whether they are the last."""
        for most in (size, *SHORT_LOOKS):
            try:
                rows = self._rows(most)
                return rows, len(rows) < most
            except TooSlow as error:
                slow = error
        raise slow

    def _rows(self, size: int) -> list[dict[str, Any]]:
        where = [self._index, *self._span]
        if self._place:
            at, job_id = rfc3339(self._place[0]), self._place[1]
            where.append(_Part(f"{self._at} <= ? AND ({self._at} < ? OR {self._id} < ?)", (at, at, job_id)))
        hit = " AND ".join(part.sql for part in self._rest.values()) or "TRUE"
        statement = (
            f"SELECT {self._id} AS id, {self._at} AS at, CASE WHEN {hit} THEN 1 ELSE 0 END AS hit FROM {self._source}"
            f" WHERE {' AND '.join(part.sql for part in where)} ORDER BY {self._at} DESC, {self._id} DESC LIMIT ?"
        )
        parts = (*self._rest.values(), *where)
        return self._db.all(statement, [*(value for part in parts for value in part.values), size])


def _cursor_at(at: int, job_id: str) -> str:
    return f"h{at}-{job_id}"


def _read(cursor: str) -> tuple[int, str]:
    """A time and an id: a place in any list. RFC 3339 ends with the year 9999."""
    parts = _CURSOR.fullmatch(cursor)
    if not parts or int(parts[1]) > LAST_MS:
        raise Invalid([("/cursor", "is not one that this list has given out")])
    return int(parts[1]), parts[2]


def _containing(text: str) -> str:
    """A pattern of LIKE."""
    return "%" + re.sub("([!%_])", r"!\1", text) + "%"


def _conditions(wanted: Filter) -> dict[str, _Part]:
    """Of the columns that are simply compared."""
    values = {name: getattr(wanted, name) for name in ("status", "type", "queue", "kind")}
    return {name: _Part(f"{name} = ?", (value,)) for name, value in values.items() if value is not None}


def _span(at: str, wanted: Filter) -> list[_Part]:
    """From since on, until until."""
    found = []
    if wanted.since_ms is not None:
        found.append(_Part(f"{at} >= ?", (rfc3339(min(wanted.since_ms, LAST_MS)),)))
    if wanted.until_ms is not None:
        found.append(_Part(f"{at} < ?", (rfc3339(min(wanted.until_ms, LAST_MS)),)))
    return found


# ---------------------------------------------------------------------------------------------------------- as listed


def listed(db: Connection, ids: Sequence[str]) -> list[Row]:
    """Jobs as lists show them, in the order of their ids; without those that have just gone."""
    if not ids:
        return []
    asked = marks(len(ids))
    rows = {str(row["id"]): row for row in db.all(f"SELECT {_LISTED} FROM job WHERE id IN ({asked})", ids)}
    statement = f"SELECT {_LAST_ERRORS} FROM attempt WHERE job_id IN ({asked}) AND kind IS NOT NULL AND {_LATEST} ORDER BY number"
    attempts: dict[str, list[dict[str, Any]]] = {}
    for each in db.all(statement, [*ids, SHOWN_ERRORS]):
        attempts.setdefault(str(each["job_id"]), []).append(each)
    return [_listed_row(rows[job_id], attempts.get(job_id, [])) for job_id in ids if job_id in rows]


def _listed_row(row: dict[str, Any], attempts: Sequence[dict[str, Any]]) -> Row:
    truncated, previews = list[str](), dict[str, str]()
    for name in ("payload", "result"):
        if row[name] is not None and len(raw := row[name].encode()) > SHOWN_BYTES:
            previews[name] = raw[:SHOWN_BYTES].decode(errors="ignore")
        if name in previews or (name == "payload" and row[name] is None):
            truncated.append(name)
    row |= dict.fromkeys(previews)
    if attempts and (attempts[0]["number"] > 1 or any(_is_cut(each) for each in attempts)):
        truncated.append("errors")
    if len(row["log"] or "") == 4000:
        truncated.append("log")
    job = job_of(row, attempts, truncated=tuple(truncated), previews=previews or None)
    return Row(job, row["rev"], bool(row["deleted"]))


def _is_cut(attempt: dict[str, Any]) -> bool:
    return any(len(attempt[name] or "") == SHOWN_CHARS for name in ("message", "traceback"))
