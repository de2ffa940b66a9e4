"""What the tests of history.py share: a record that is kept step by step, and a reading of SQL that shares nothing with it."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import redis

from _jobqueue.config import Config
from _jobqueue.logs import Log
from _jobqueue.record.database import Record
from history import History
from jobqueue import JobQueue
from tests.harness import Server
from tests.played import Q

STEPS_MOST = 10_000


def history_of(jobs: JobQueue, record: Record, **settings: str) -> History:
    return History(jobs, record, Config.from_environment(settings, program="history"), Log("history"))


def until_quiet(history: History) -> None:
    """Step until nothing waits any more."""
    for _ in range(STEPS_MOST):
        if not history.step():
            return
    raise AssertionError("it never comes to rest")


def rows_in(url: str, statement: str) -> list[dict[str, Any]]:
    """What SQL holds, asked by the drivers themselves."""
    if url.startswith("sqlite"):
        connection: Any = sqlite3.connect(url.removeprefix("sqlite:///"))
        connection.row_factory = sqlite3.Row
        rows = [dict(row) for row in connection.execute(statement)]
    else:
        import psycopg

        connection = psycopg.connect(url, row_factory=psycopg.rows.dict_row, options="-c timezone=UTC")  # type: ignore[arg-type]
        rows = [dict(row) for row in connection.execute(statement)]
    connection.close()
    return [{name: plain(value) for name, value in row.items()} for row in rows]


def plain(value: Any) -> Any:
    """The same for both databases."""
    if isinstance(value, datetime):
        return round(value.timestamp() * 1000)
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", value):
        return round(datetime.fromisoformat(value[:-1]).replace(tzinfo=timezone.utc).timestamp() * 1000)
    if isinstance(value, bool):
        return int(value)
    return value if isinstance(value, (int, str, type(None), dict, list)) else str(value)


def in_sql(url: str) -> dict[str, dict[str, Any]]:
    """id -> the fields of each job that compare with its hash in Redis."""
    rows = rows_in(url, "SELECT * FROM job")
    read = json.loads if url.startswith("sqlite") else lambda value: value  # of psycopg it is read already
    return {str(row["id"]): {name: row[name] for name in FIELDS} | _content(row, read) for row in rows}


FIELDS = (
    *("status", "type", "queue", "priority", "attempts", "deleted", "tags"),
    *("created_at", "run_at", "started_at", "finished_at"),
)


def _content(row: dict[str, Any], read: Callable[[Any], Any]) -> dict[str, Any]:
    return {name: None if row[name] is None else read(row[name]) for name in ("payload", "result")}


def in_redis(server: Server) -> dict[str, dict[str, Any]]:
    """The same of the hashes, read as the table of keys at the top of jobqueue.py says, and of nothing else."""
    found, client = {}, redis.Redis(port=server.port)
    for key in client.scan_iter(f"{Q}job:*"):
        raw = {name.decode(): value for name, value in client.hgetall(key).items()}
        h = {name: value.decode(errors="replace") for name, value in raw.items()}
        ended = h["status"] in ("done", "failed", "cancelled")
        found[key.decode().rpartition(":")[2]] = {
            "status": h["status"],
            "type": h.get("type", "echo"),
            "queue": "default",
            "priority": 9 - int(h["score"]) // 2**43,
            "attempts": int(h.get("attempts", 0)),
            "deleted": 0,
            "tags": h.get("tags", ""),
            "created_at": int(h["created"]),
            "run_at": int(h["due"]) if "due" in h else None,
            "started_at": int(h["started"]) if "started" in h else None,
            "finished_at": int(h["finished"]) if ended else None,
            "payload": json.loads(_whole(raw, "payload")),
            "result": json.loads(_whole(raw, "result")) if h["status"] == "done" else None,
        }
    client.close()
    return found


def attempts_in_redis(server: Server) -> dict[tuple[str, int], tuple[int, str, int, str]]:
    """Job and number of each error record -> attempt, kind, when it ended, message."""
    found, client = {}, redis.Redis(port=server.port, decode_responses=True, encoding_errors="replace")
    for key in client.scan_iter(f"{Q}job:*"):
        for name in client.hkeys(key):
            if name.startswith("error:"):
                head, _, text = client.hget(key, name).partition("\n")
                at, attempt, kind, *_ = head.split(" ")
                found[key.rpartition(":")[2], int(name[6:])] = int(attempt), kind, int(at), text
    client.close()
    return found


def attempts_in_sql(url: str) -> dict[tuple[str, int], tuple[int, str, int, str]]:
    """The same of SQL, of attempts without success."""
    rows = rows_in(url, "SELECT * FROM attempt WHERE outcome != 'done'")
    return {
        (str(row["job_id"]), row["number"]): (row["attempt"], row["kind"], row["finished_at"], row["message"])
        for row in rows
    }


def _whole(raw: dict[str, bytes], name: str) -> bytes:
    pieces = [raw.get(name, b"null")]
    while f"{name}.{len(pieces)}" in raw:
        pieces.append(raw[f"{name}.{len(pieces)}"])
    return b"".join(pieces)


def as_if_not_claimed(job: dict[str, Any]) -> dict[str, Any]:
    """A claim makes no mark: of a job that runs, the record may know no more than that it was queued."""
    if job["status"] not in ("processing", "queued"):
        return job
    return job | {"status": "queued", "attempts": 0, "started_at": None}
